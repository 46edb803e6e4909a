"""``egg:dcproxy#upstream``, the reverse proxy to the old server behind the filter.

Requests and responses are streamed; urllib3 is the client. It writes the percent-encoding of a path
in upper case (``%2f`` as ``%2F``, which RFC 3986 calls equivalent) and changes nothing else.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from typing import IO, cast
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIEnvironment

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, Timeout, connection_from_url
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError
from urllib3.util import SKIP_HEADER
from webob import Request, Response
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import ClientDisconnected
from werkzeug.http import is_hop_by_hop_header, parse_list_header
from werkzeug.wsgi import LimitedStream, get_content_length

from dcproxy.context import Handler, RequestContext
from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.request import read_format
from dcproxy.deltacloud.responses import VIA, abort_response, add_common_headers, error_response
from dcproxy.settings import UpstreamSettings

_CHUNK_BYTES = 64 * 1024
_MAX_CONNECTIONS = 128

log = logging.getLogger(__name__)


def upstream_handler(settings: UpstreamSettings) -> Handler:
    """Create the handler that passes each request on to ``settings.url``.

    Method, path, query, body, Host and credentials stay as they are. A server that cannot be
    reached or does not respond is a 502; redirects are left to the client.
    """
    base = settings.url.rstrip("/")
    prefix = urlsplit(base).path
    pool = connection_from_url(
        base,
        maxsize=_MAX_CONNECTIONS,
        timeout=Timeout(connect=settings.connect_timeout, read=settings.read_timeout),
        retries=False,
    )

    def handle(
        environ: WSGIEnvironment, start_response: StartResponse, context: RequestContext
    ) -> Iterable[bytes]:
        chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        try:
            response = pool.urlopen(
                environ["REQUEST_METHOD"],
                prefix + _target(environ, context),
                body=_body(environ, chunked),
                headers=_request_headers(environ),
                chunked=chunked,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            headers = _response_headers(response)
        except ClientDisconnected:
            failure = _failure(environ, context, 400, "The body is incomplete.")
            return failure(environ, start_response)
        except (HTTPError, OSError) as error:
            log.warning(
                "the server at %s: %s",
                base,
                type(error).__name__,
                extra={"request_id": context.request_id},
            )
            what = _FAILURES.get(type(error), "cannot be reached")
            failure = _failure(environ, context, 502, f"The server behind this one {what}.")
            return failure(environ, start_response)
        start_response(f"{response.status} {response.reason}", headers)
        return _stream(response, environ, context)

    return handle


_FAILURES: dict[type[Exception], str] = {
    ReadTimeoutError: "did not respond in time",
    ProtocolError: "sent a response that cannot be passed on",
}


def _failure(
    environ: WSGIEnvironment, context: RequestContext, status: int, message: str
) -> Response:
    request = read_format(Request(environ))
    response = error_response(request, ApiError(status, message), context)
    add_common_headers(response, context)
    return response


def _target(environ: WSGIEnvironment, context: RequestContext) -> str:
    # The request target as the client sent it, under gunicorn and under other servers.
    raw: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if not raw.startswith("/"):
        url = urlsplit(raw)
        query = environ.get("QUERY_STRING")
        read = context.path + (f"?{query}" if query else "")
        raw = url._replace(scheme="", netloc="").geturl() if url.netloc else read
    return raw.partition("#")[0]


def _body(environ: WSGIEnvironment, chunked: bool) -> IO[bytes] | None:
    body: IO[bytes] = environ["wsgi.input"]
    if chunked:
        return body
    length = get_content_length(environ)
    # Raises ClientDisconnected when it ends too early.
    return cast(IO[bytes], LimitedStream(body, length)) if length else None


def _request_headers(environ: WSGIEnvironment) -> HTTPHeaderDict:
    given = list(EnvironHeaders(environ))
    headers = HTTPHeaderDict(_end_to_end(given))
    headers.discard("Expect")
    for name in ("User-Agent", "Accept-Encoding"):
        headers.setdefault(name, SKIP_HEADER)
    headers["X-Forwarded-For"] = _appended(
        environ.get("HTTP_X_FORWARDED_FOR"), environ.get("REMOTE_ADDR", "unknown")
    )
    headers["Via"] = _appended(environ.get("HTTP_VIA"), VIA)
    return headers


def _response_headers(response: BaseHTTPResponse) -> list[tuple[str, str]]:
    headers = _end_to_end(list(response.headers.iteritems()))
    # http.client takes an interim response (103 Early Hints) for the final one.
    if response.status < 200 or not all(_VALUE.fullmatch(value) for _, value in headers):
        response.close()
        raise ProtocolError("a response that cannot be passed on")
    return [*headers, ("Via", VIA)]


_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def _end_to_end(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
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


def _stream(
    response: BaseHTTPResponse, environ: WSGIEnvironment, context: RequestContext
) -> Iterator[bytes]:
    try:
        yield from response.stream(_CHUNK_BYTES, decode_content=False)
        response.release_conn()
    except HTTPError as error:
        log.error(
            "a response was cut: %s", type(error).__name__, extra={"request_id": context.request_id}
        )
        raise abort_response(context.connection, environ["SERVER_PROTOCOL"]) from error
    finally:
        response.close()
