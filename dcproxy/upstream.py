"""The old server behind the filter, as a WSGI application: ``use = egg:dcproxy#upstream``.

Requests and answers are streamed through; urllib3 speaks to the server. It writes the percent
escapes of an address in upper case (``%2f`` as ``%2F``, which RFC 3986 says is the same) and
leaves everything else as it was sent.
"""

import logging
import re
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, cast
from urllib.parse import urlsplit

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, Timeout, connection_from_url
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError
from urllib3.util import SKIP_HEADER
from webob import Request, Response
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import ClientDisconnected
from werkzeug.http import is_hop_by_hop_header, parse_list_header
from werkzeug.wsgi import LimitedStream, get_content_length

from dcproxy import settings
from dcproxy.answers import VIA, address, broken_off, complete, error_document
from dcproxy.errors import DeltacloudError
from dcproxy.settings import UpstreamSettings
from dcproxy.trace import trace_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_CHUNK_BYTES = 64 * 1024
_MAX_CONNECTIONS = 128

log = logging.getLogger(__name__)


def app_factory(global_conf: dict[str, str], **options: str) -> "WSGIApplication":
    """Make the application of a Paste section. Raises ``SettingError``."""
    return upstream(settings.from_options(options, UpstreamSettings))


def upstream(settings: UpstreamSettings) -> "WSGIApplication":
    """Make the application that passes each request on to ``settings.url``.

    Method, path, query, body, Host and credentials go as they came. A server that is gone or
    silent is a 502; redirects are the client's to follow.
    """
    base = settings.url.rstrip("/")
    prefix = urlsplit(base).path
    pool = connection_from_url(
        base,
        maxsize=_MAX_CONNECTIONS,
        timeout=Timeout(connect=settings.connect_timeout, read=settings.read_timeout),
        retries=False,
    )

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        try:
            response = pool.urlopen(
                environ["REQUEST_METHOD"],
                prefix + _target(environ),
                body=_body(environ, chunked),
                headers=_request_headers(environ),
                chunked=chunked,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            headers = _response_headers(response)
        except ClientDisconnected:
            return _failure(environ, 400, "The body is not complete.")(environ, start_response)
        except (HTTPError, OSError) as error:
            log.warning(
                "the server at %s: %s",
                base,
                type(error).__name__,
                extra={"request_id": trace_of(environ).request_id},
            )
            what = _FAILURES.get(type(error), "cannot be reached")
            failure = _failure(environ, 502, f"The server behind this one {what}.")
            return failure(environ, start_response)
        start_response(f"{response.status} {response.reason}", headers)
        return _stream(response, environ)

    return answer


_FAILURES: dict[type[Exception], str] = {
    ReadTimeoutError: "did not answer in time",
    ProtocolError: "gave no answer that can be passed on",
}


def _failure(environ: "WSGIEnvironment", status: int, message: str) -> Response:
    error = DeltacloudError(status, message)
    return complete(error_document(Request(environ), error), environ)


def _target(environ: "WSGIEnvironment") -> str:
    # RAW_URI is gunicorn's, REQUEST_URI that of other servers: the address as the client sent it.
    raw: str = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    if not raw.startswith("/"):
        url = urlsplit(raw)
        raw = url._replace(scheme="", netloc="").geturl() if url.netloc else address(environ)
    return raw.partition("#")[0]


def _body(environ: "WSGIEnvironment", chunked: bool) -> IO[bytes] | None:
    body: IO[bytes] = environ["wsgi.input"]
    if chunked:
        return body
    length = get_content_length(environ)
    # Raises ClientDisconnected when it ends too early.
    return cast(IO[bytes], LimitedStream(body, length)) if length else None


def _request_headers(environ: "WSGIEnvironment") -> HTTPHeaderDict:
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
    # http.client takes what comes before the answer (103 Early Hints) for the answer.
    if response.status < 200 or not all(_VALUE.fullmatch(value) for _, value in headers):
        response.close()
        raise ProtocolError("an answer that cannot be passed on")
    return [*headers, ("Via", VIA)]


_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def _end_to_end(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out what is meant for the next hop only (RFC 9110, 7.6.1)."""
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


def _stream(response: BaseHTTPResponse, environ: "WSGIEnvironment") -> Iterator[bytes]:
    try:
        yield from response.stream(_CHUNK_BYTES, decode_content=False)
        response.release_conn()
    except HTTPError as error:
        log.error(
            "an answer broke off: %s",
            type(error).__name__,
            extra={"request_id": trace_of(environ).request_id},
        )
        raise broken_off(environ) from error
    finally:
        response.close()
