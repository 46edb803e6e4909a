"""HTTP responses: documents, errors, and the headers of all of them."""

import errno
import socket
import struct
from functools import partial
from hashlib import sha1
from http import HTTPStatus

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import ErrorDocument
from dcproxy.deltacloud.negotiation import Format
from dcproxy.deltacloud.protocol import DRIVER, SERVER
from dcproxy.deltacloud.request import ApiRequest
from dcproxy.request_log import RequestLog

HEADERS = {
    "Cache-Control": "max-age=0, private, must-revalidate",
    "Server": SERVER,
    "Vary": "Accept, Authorization",
    "Via": "1.1 dcproxy",
    "X-Content-Type-Options": "nosniff",
    "X-Deltacloud-Driver": DRIVER,
}
"""Headers of every Deltacloud response."""


def add_common_headers(response: Response, request_log: RequestLog) -> None:
    """Add the headers of every Deltacloud response."""
    response.headers.update(HEADERS.items())
    response.headers["X-Request-Id"] = request_log.request_id
    if request_log.provider:
        response.headers["X-Deltacloud-Provider"] = request_log.provider


def document_response(format: Format, text: str, status: int = 200) -> Response:
    """Send a complete document, with its ``ETag``."""
    body, headers = text.encode(), list(format.renderer.HEADERS.items())
    response = Response(body, status=status, headerlist=headers, conditional_response=True)
    response.etag = sha1(body, usedforsecurity=False).hexdigest()
    return response


def error_response(request: ApiRequest, error: ApiError, request_log: RequestLog) -> Response:
    """Send an error in the format of its request.

    A 401 has a challenge. The message of a 5xx ends with the request id, by which the log line is
    found.
    """
    log_id = f" (X-Request-Id: {request_log.request_id})" if error.status >= 500 else ""
    reason = HTTPStatus(error.status).phrase
    document = ErrorDocument(
        status=error.status,
        reason=reason,
        message=f"{error.message}{log_id}",
        code=error.code or reason,
        url="?".join(filter(None, (request_log.path, request.query_string))),
        provider=request.provider or "",
        parameters={**request.query, "id": request.id} if request.id else request.query,
        parameter=error.parameter,
    )
    renderer = request.format.renderer
    text = (error.write or partial(renderer.document, "error", urls=request.urls))(document)
    headers = [*renderer.HEADERS.items(), *error.headers.items()]
    response = Response(text.encode(), status=error.status, headerlist=headers)
    if error.status == 401:
        response.www_authenticate = f'Basic realm="ec2-deltacloud@{request.host}"'
    return response


def abort_response(connection: socket.socket | None, http_version: str) -> ConnectionResetError:
    """Return the error that ends a response which has begun and cannot be completed.

    Servers treat it as a client that closed the connection: they close it too, without the last
    chunk, so that the client sees an incomplete response. HTTP/1.0 has no last chunk: the end of
    the connection is the end of the body, so the connection is reset.
    """
    if http_version == "HTTP/1.0" and connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    return ConnectionResetError(errno.ECONNRESET, "the response was aborted")
