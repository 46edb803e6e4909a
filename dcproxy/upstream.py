"""``egg:dcproxy#upstream``, the reverse proxy to the old server behind the filter.

Requests and responses are streamed. h11 writes and reads the messages: it refuses any that HTTP/1.1
does not allow, and leaves the request target as it is. Each request has a connection of its own, so
that nothing of one response can become part of another.
"""

import logging
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

import h11
from webob import Request, Response
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import ClientDisconnected
from werkzeug.http import is_hop_by_hop_header, parse_list_header
from werkzeug.wsgi import ClosingIterator, LimitedStream, get_content_length

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.parameters import check_transfer_coding
from dcproxy.deltacloud.request import read_format
from dcproxy.deltacloud.responses import VIA, abort_response, add_common_headers, error_response
from dcproxy.request_log import Handler, RequestLog
from dcproxy.settings import UpstreamSettings

_REQUEST_PIECE_BYTES = 16 * 1024
_RESPONSE_PIECE_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024

_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_SCHEME_AND_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")

Headers = list[tuple[str, str]]

log = logging.getLogger(__name__)


def upstream_handler(settings: UpstreamSettings) -> Handler:
    """Create the handler that passes each request on to ``settings.url``.

    Method, target, body, Host and credentials stay as they are. A server that cannot be reached,
    does not respond or sends a malformed response is a 502; redirects are left to the client.
    """
    base = settings.url.rstrip("/")
    connect = _connector(settings)

    def handle(
        environ: WSGIEnvironment, start_response: StartResponse, request_log: RequestLog
    ) -> Iterable[bytes]:
        try:
            response = _exchange(environ, request_log, base, connect)
        except ApiError as error:
            if error.status == 502:
                log.warning(
                    "the server at %s: %s",
                    base,
                    type(error.__cause__).__name__,
                    extra={"request_id": request_log.request_id},
                )
            failure = _failure(environ, request_log, error)
            return failure(environ, start_response)
        start_response(response.status, response.headers)
        body = _abort_when_cut(response.body, environ, request_log)
        return ClosingIterator(body, response.close)

    return handle


class _UpstreamResponse(NamedTuple):
    status: str
    headers: Headers
    body: Iterator[bytes]
    close: Callable[[], None]


def _connector(settings: UpstreamSettings) -> Callable[[], socket.socket]:
    url = urlsplit(settings.url)
    host = str(url.hostname)
    tls = ssl.create_default_context() if url.scheme == "https" else None
    port = url.port or (443 if tls else 80)

    def connect() -> socket.socket:
        connection = socket.create_connection((host, port), settings.connect_timeout)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                connection = tls.wrap_socket(connection, server_hostname=host)
            connection.settimeout(settings.read_timeout)
        except BaseException:
            connection.close()
            raise
        return connection

    return connect


def _exchange(
    environ: WSGIEnvironment,
    request_log: RequestLog,
    base: str,
    connect: Callable[[], socket.socket],
) -> _UpstreamResponse:
    """Send a request, and receive the response up to the first piece of its body.

    Raises ``ApiError``: 400 and 501 for the request, 502 for the old server.
    """
    request, body = _request(environ, request_log, base)
    try:
        connection = connect()
    except OSError as error:
        raise _server_error("cannot be reached") from error
    try:
        return _converse(connection, request, body)
    except ClientDisconnected as error:
        raise ApiError(400, "The body is incomplete.") from error
    except TimeoutError as error:
        raise _server_error("did not respond in time") from error
    except (h11.RemoteProtocolError, OSError) as error:
        raise _server_error("sent a response that cannot be passed on") from error


def _converse(
    connection: socket.socket, request: h11.Request, body: Iterator[bytes]
) -> _UpstreamResponse:
    """Speak HTTP over a new connection, which is closed when this raises."""
    protocol = h11.Connection(h11.CLIENT, _MAX_HEAD_BYTES)
    try:
        _send(protocol, connection, request, body)
        response = _receive_head(protocol, connection)
        pieces = _receive_body(protocol, connection, is_head=request.method == b"HEAD")
        # What fails up to here is a 502.
        first = next(pieces, b"")
    except BaseException:
        connection.close()
        raise
    return _UpstreamResponse(
        f"{response.status_code} {response.reason.decode('latin-1')}",
        _response_headers(response),
        chain([first], pieces),
        connection.close,
    )


def _server_error(what: str) -> ApiError:
    return ApiError(502, f"The server behind this one {what}.")


def _failure(environ: WSGIEnvironment, request_log: RequestLog, error: ApiError) -> Response:
    response = error_response(read_format(Request(environ)), error, request_log)
    add_common_headers(response, request_log)
    return response


# The request


def _request(
    environ: WSGIEnvironment, request_log: RequestLog, base: str
) -> tuple[h11.Request, Iterator[bytes]]:
    check_transfer_coding(environ)
    is_chunked = "HTTP_TRANSFER_ENCODING" in environ
    if environ["REQUEST_METHOD"] == "CONNECT":
        raise ApiError(501, "The method CONNECT is not supported.")
    url = urlsplit(base)
    target = _target(environ, request_log)
    headers = _request_headers(environ, url.netloc)
    if is_chunked:
        headers.append(("Transfer-Encoding", "chunked"))
    try:
        request = h11.Request(
            method=environ["REQUEST_METHOD"].encode("latin-1"),
            target=(target if target == "*" else url.path + target).encode("latin-1"),
            headers=[(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers],
        )
    except h11.LocalProtocolError as error:
        raise ApiError(400, f"The request cannot be passed on: {error}.") from error
    return request, _request_body(environ, is_chunked)


def _target(environ: WSGIEnvironment, request_log: RequestLog) -> str:
    """Return the request target as the client sent it, without scheme and host.

    gunicorn and some other servers hand it over; without it, it is put together.
    """
    raw: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if not raw:
        query = environ.get("QUERY_STRING")
        return request_log.path + (f"?{query}" if query else "")
    host = _SCHEME_AND_HOST.match(raw)
    path = raw[host.end() :] if host else raw
    return path if path == "*" or path.startswith("/") else f"/{path}"


def _request_headers(environ: WSGIEnvironment, host: str) -> Headers:
    ours = {
        "X-Forwarded-For": _appended(
            environ.get("HTTP_X_FORWARDED_FOR"), environ.get("REMOTE_ADDR") or "unknown"
        ),
        "Via": _appended(environ.get("HTTP_VIA"), VIA),
        "Connection": "close",
    }
    replaced = {*map(str.lower, ours), "expect"}
    given = _end_to_end(list(EnvironHeaders(environ)))
    headers = [(name, value) for name, value in given if name.lower() not in replaced]
    if "HTTP_HOST" not in environ:
        headers.append(("Host", host))
    return [*headers, *ours.items()]


def _request_body(environ: WSGIEnvironment, is_chunked: bool) -> Iterator[bytes]:
    """Read the body of the client. Raises ``ClientDisconnected`` when it ends too early."""
    body = environ["wsgi.input"]
    if not is_chunked:
        body = LimitedStream(body, get_content_length(environ) or 0)
    try:
        while piece := body.read(_REQUEST_PIECE_BYTES):
            yield piece
    except OSError as error:
        raise ClientDisconnected from error


def _send(
    protocol: h11.Connection, connection: socket.socket, request: h11.Request, body: Iterator[bytes]
) -> None:
    try:
        connection.sendall(protocol.send(request) or b"")
        for piece in body:
            connection.sendall(protocol.send(h11.Data(data=piece)) or b"")
        connection.sendall(protocol.send(h11.EndOfMessage()) or b"")
    except (BrokenPipeError, ConnectionResetError):
        # A server may refuse a request without reading its body: its response says why.
        return


# The response


def _receive_head(protocol: h11.Connection, connection: socket.socket) -> h11.Response:
    """Receive the final response, up to its body. Raises ``RemoteProtocolError``."""
    while not isinstance(event := protocol.next_event(), h11.Response):
        if event is h11.NEED_DATA:
            protocol.receive_data(connection.recv(_RESPONSE_PIECE_BYTES))
    # h11 accepts control characters and any version.
    texts = [event.reason, *(value for _, value in event.headers)]
    if event.http_version not in {b"1.0", b"1.1"} or not all(map(_VALUE.fullmatch, texts)):
        raise h11.RemoteProtocolError("a status line or header that cannot be passed on")
    return event


def _receive_body(
    protocol: h11.Connection, connection: socket.socket, is_head: bool
) -> Iterator[bytes]:
    """Receive the body piece by piece.

    Its last piece is only given out when nothing follows it, so that the client does not take a
    body that is longer than announced for complete. Raises ``RemoteProtocolError`` and ``OSError``.
    """
    received = bytearray()
    while not isinstance(event := protocol.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Data):
            received += event.data
            continue
        if received:
            yield bytes(received)
            received.clear()
        protocol.receive_data(connection.recv(_RESPONSE_PIECE_BYTES))
    following, _ = protocol.trailing_data
    if following and not is_head:
        raise h11.RemoteProtocolError("a body that is longer than announced")
    if received:
        yield bytes(received)


def _response_headers(response: h11.Response) -> Headers:
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in response.headers.raw_items()
    ]
    names = {name.lower() for name, _ in headers}
    if "transfer-encoding" in names:
        # The length of a chunked body does not count (RFC 9112, 6.3).
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
    return [*_end_to_end(headers), ("Via", VIA)]


def _abort_when_cut(
    body: Iterator[bytes], environ: WSGIEnvironment, request_log: RequestLog
) -> Iterator[bytes]:
    try:
        yield from body
    except (h11.RemoteProtocolError, OSError) as error:
        log.error(
            "a response was cut: %s",
            type(error).__name__,
            extra={"request_id": request_log.request_id},
        )
        raise abort_response(request_log.connection, environ["SERVER_PROTOCOL"]) from error


def _end_to_end(headers: Headers) -> Headers:
    """Remove hop-by-hop headers (RFC 9110, 7.6.1)."""
    of_hop = {
        token.lower()
        for name, value in headers
        if name.lower() == "connection"
        for token in parse_list_header(value)
    }
    return [
        (name, value)
        for name, value in headers
        if not is_hop_by_hop_header(name) and name.lower() not in of_hop
    ]


def _appended(values: str | None, value: str) -> str:
    return f"{values}, {value}" if values else value
