"""The old server behind the filter, as a WSGI application: ``use = egg:dcproxy#upstream``.

Requests and answers are streamed through; urllib3 speaks to the server. It writes the percent
escapes of an address in upper case (``%2f`` as ``%2F``, which RFC 3986 says is the same) and
leaves everything else as it was sent.
"""

import errno
import logging
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING
from urllib.parse import quote, urlsplit

from urllib3 import BaseHTTPResponse, HTTPHeaderDict, Timeout, connection_from_url
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.util import SKIP_HEADER
from webob import Request
from werkzeug.datastructures import EnvironHeaders
from werkzeug.http import is_hop_by_hop_header, parse_list_header

from dcproxy import settings
from dcproxy.error_document import error_document
from dcproxy.errors import DeltacloudError
from dcproxy.settings import UpstreamSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

VIA = "1.1 dcproxy"
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
        except (HTTPError, OSError) as error:
            log.warning("the server at %s: %s", base, type(error).__name__)
            silent = isinstance(error, ReadTimeoutError)
            what = "did not answer in time" if silent else "cannot be reached"
            failure = DeltacloudError(502, f"The server behind this one {what}.")
            return error_document(Request(environ), failure)(environ, start_response)
        start_response(f"{response.status} {response.reason}", _response_headers(response))
        return _stream(response)

    return answer


def _target(environ: "WSGIEnvironment") -> str:
    # RAW_URI is gunicorn's, REQUEST_URI that of other servers: the path as the client sent it.
    raw = urlsplit(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "")
    path = raw.path or quote(
        environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), encoding="latin-1"
    )
    query = environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else path


def _body(environ: "WSGIEnvironment", chunked: bool) -> IO[bytes] | None:
    has_body = chunked or environ.get("CONTENT_LENGTH") not in {None, "", "0"}
    return environ["wsgi.input"] if has_body else None


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
    return [*_end_to_end(list(response.headers.iteritems())), ("Via", VIA)]


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


def _stream(response: BaseHTTPResponse) -> Iterator[bytes]:
    try:
        yield from response.stream(_CHUNK_BYTES, decode_content=False)
        response.release_conn()
    except HTTPError as error:
        log.error("an answer broke off: %s", type(error).__name__)
        raise ConnectionResetError(errno.ECONNRESET, "the answer broke off") from error
    finally:
        response.close()
