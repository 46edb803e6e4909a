"""What every answer carries, and the one place where an error becomes a document."""

import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from webob import Request, Response

from dcproxy import deltacloud, parameters
from dcproxy.documents import choice
from dcproxy.documents.choice import Format
from dcproxy.documents.report import ErrorReport
from dcproxy.errors import DeltacloudError

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

# What is known of a request so far, in its environ.
PROVIDER = "dcproxy.provider"
OPERATION = "dcproxy.operation"
ID = "dcproxy.id"
URLS = "dcproxy.urls"

_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)


def complete(response: Response, environ: "WSGIEnvironment") -> Response:
    """Put the headers of every answer into one."""
    response.headers.update(HEADERS.items())
    if PROVIDER in environ:
        response.headers["X-Deltacloud-Provider"] = environ[PROVIDER]
    return response


def host(request: Request) -> str:
    """Read the host, with its port, that a request came to; empty when that is no name of one."""
    name: str = request.host
    return name if _HOST.fullmatch(name) else ""


def error_document(request: Request, error: DeltacloudError) -> Response:
    """Write an error for the caller of a request; a 401 with the challenge."""
    try:
        query = parameters.query(request)
    except DeltacloudError:
        query = {}
    format = _format(query.get("format"), request.headers.get("Accept"))
    id = request.environ.get(ID)
    report = ErrorReport(
        status=error.status,
        reason=HTTPStatus(error.status).phrase,
        message=error.message,
        ec2_code=error.ec2_code,
        url=address(request.environ),
        provider=request.environ.get(PROVIDER, ""),
        parameters=query | {"id": id} if id else query,
        urls=request.environ.get(URLS),
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


def address(environ: "WSGIEnvironment") -> str:
    """Write path and query as the client sent them, whatever bytes they are."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING")
    return quote(path, safe="/;=", encoding="latin-1") + (f"?{query}" if query else "")
