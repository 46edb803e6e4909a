"""What every answer carries, and the one place where an error becomes a document."""

import errno
import re
import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from webob import Request, Response

from dcproxy import deltacloud, parameters
from dcproxy.documents import choice
from dcproxy.documents.choice import Format
from dcproxy.documents.report import ErrorReport
from dcproxy.errors import DeltacloudError
from dcproxy.trace import trace_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

VIA = "1.1 dcproxy"
HEADERS = {
    "Cache-Control": "max-age=0, private, must-revalidate",
    "Server": deltacloud.SERVER,
    "Via": VIA,
    "X-Deltacloud-Driver": deltacloud.DRIVER,
}
"""Headers of every answer."""

_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)


def complete(response: Response, environ: "WSGIEnvironment") -> Response:
    """Put the headers of every answer into one."""
    trace = trace_of(environ)
    response.headers.update(HEADERS.items())
    response.headers["X-Request-Id"] = trace.request_id
    if trace.provider:
        response.headers["X-Deltacloud-Provider"] = trace.provider
    return response


def host(request: Request) -> str:
    """Read the host, with its port, that a request came to; empty when that is no name of one."""
    name: str = request.host
    return name if _HOST.fullmatch(name) else ""


def error_document(request: Request, error: DeltacloudError) -> Response:
    """Write an error for the caller of a request.

    A 401 comes with the challenge, a 5xx with the id by which the log knows the request.
    """
    trace = trace_of(request.environ)
    try:
        query = parameters.query(request)
    except DeltacloudError:
        query = {}
    format = _format(query.get("format"), request.headers.get("Accept"))
    report = ErrorReport(
        status=error.status,
        reason=HTTPStatus(error.status).phrase,
        message=f"{error.message} (X-Request-Id: {trace.request_id})"
        if error.status >= 500
        else error.message,
        ec2_code=error.ec2_code,
        url=address(request.environ),
        provider=trace.provider,
        parameters=query | {"id": trace.id} if trace.id else query,
        urls=trace.urls,
        parameter=error.parameter,
        form=error.form,
    )
    response = Response(
        format.documents.error(report).encode(),
        status=error.status,
        headerlist=list(format.headers.items()),
    )
    response.headers.update(error.headers.items())
    if error.status == 401:
        response.www_authenticate = f'Basic realm="ec2-deltacloud@{host(request)}"'
    return response


def _format(format_parameter: str | None, accept: str | None) -> Format:
    """Choose the format of an error: one about the format itself comes in the next best."""
    for parameter in (format_parameter, None):
        try:
            return choice.choose(parameter, accept)
        except DeltacloudError:
            pass
    return choice.DEFAULT


def broken_off(environ: "WSGIEnvironment") -> ConnectionResetError:
    """Make the error that ends an answer which has begun and cannot go on.

    Not a well-formed end: the client must see that the answer is cut. Servers take this error for
    a client that went away, and close without a last chunk or a traceback.
    """
    connection = environ.get("gunicorn.socket")
    if environ.get("SERVER_PROTOCOL") == "HTTP/1.0" and connection is not None:
        # HTTP/1.0 has no last chunk to leave out: an end of the connection is the end of the
        # body, unless it is a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    return ConnectionResetError(errno.ECONNRESET, "the answer broke off")


def address(environ: "WSGIEnvironment") -> str:
    """Write path and query as the client sent them, whatever bytes they are."""
    query = environ.get("QUERY_STRING")
    return path(environ) + (f"?{query}" if query else "")


def path(environ: "WSGIEnvironment") -> str:
    """Write the path as the client sent it, whatever bytes it is."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return quote(path, safe="/;=", encoding="latin-1")
