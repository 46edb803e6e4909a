"""An HTTP request, read once: everything after it is typed."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote
from wsgiref.types import WSGIEnvironment

from webob import Request
from werkzeug.sansio.utils import host_is_trusted

from dcproxy.auth.keys import Credentials, read_credentials
from dcproxy.deltacloud import negotiation, parameters, routes
from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.negotiation import Format
from dcproxy.deltacloud.protocol import DRIVER
from dcproxy.deltacloud.urls import ENTRY_POINT, Urls, split_matrix

_FORM_PARAMETERS = {"_method", "capacity", "instance_id", "snapshot_id", "volume_id"}
"""Where the query has one of these, the body need not be a form."""

_HOST = re.compile(
    r"(?:[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request.

    ``host`` has its port and is empty when malformed; ``provider`` is None when the request named
    none; ``id`` is that of the path, ``query`` and ``form`` are its parameters. ``credentials`` are
    None for an operation that does not call EC2.

    ``error`` is what is wrong with the request. What was not read because of it is empty, except
    ``format``, which is always known. An OPTIONS request is read up to its methods in ``allow``.
    """

    http: Request
    format: Format
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    provider: str | None = None
    handler: str = ""
    id: str = ""
    urls: Urls | None = None
    allow: Sequence[str] = ()
    credentials: Credentials | None = None
    error: ApiError | None = None

    @property
    def parameters(self) -> Mapping[str, str]:
        """The parameters of query and form; those of the form take precedence."""
        return {**self.query, **self.form}


def read_request(
    http: Request, providers: Mapping[str, str], trusted_hosts: Collection[str]
) -> ApiRequest:
    """Read a request; ``ApiRequest.error`` is set when it is wrong.

    ``providers`` maps the names that a request may use, in lower case, to providers.
    ``trusted_hosts`` are the host names that it may use; empty allows any.
    """
    known: dict[str, Any] = {}
    try:
        known.update(_read(http, providers, trusted_hosts))
    except ApiError as error:
        known["error"] = error
    return ApiRequest(http=http, **known)


def encoded_prefix(environ: WSGIEnvironment) -> str:
    """Return the percent-encoded prefix of the paths of an application, such as ``/clouds``.

    Raises a 400 ``ApiError`` unless it is a path: ``.example.com`` and ``//example.com`` would make
    the links of a response those of another host.
    """
    prefix = environ.get("SCRIPT_NAME", "").encode("latin-1")
    try:
        prefix.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, "The prefix of the path is not UTF-8.") from error
    if not re.fullmatch(rb"(/[^/]+)*/?", prefix):
        raise ApiError(400, "The prefix of the path is not a path: it takes one such as /clouds.")
    return quote(prefix.rstrip(b"/"), safe="/!$&'()*+,;=:@")  # RFC 3986, 3.3


def is_for_collections(http: Request, collections: Collection[str]) -> bool:
    """Tell whether a request is for one of some collections of the ec2 driver, whatever its method.

    Path and driver are read as Deltacloud 1.1.3 reads them, also where dcproxy refuses them: empty
    and dot segments do not count, and of several drivers the first in the path decides, then the
    header, then the last in the query. The body is not read.
    """
    path = http.environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
    canonical_path, matrix = split_matrix(_without_dot_segments(path))
    in_path = (value for name, value in matrix if name == "driver")
    # Rack 1 separates parameters by semicolons too.
    query = dict(parse_qsl(http.query_string.replace(";", "&")))
    in_header = http.headers.get("X-Deltacloud-Driver")
    driver = next(in_path, None) or in_header or query.get("api[driver]") or DRIVER
    prefix = f"{ENTRY_POINT}/"
    collection, _, _ = canonical_path.removeprefix(prefix).partition("/")
    is_below = canonical_path.startswith(prefix)
    return is_below and collection in collections and driver.lower() == DRIVER


def _without_dot_segments(path: str) -> str:
    """Resolve dot segments (RFC 3986, 5.2.4), and drop empty ones."""
    segments: list[str] = []
    for segment in path.split("/"):
        name = segment.partition(";")[0]
        if name == "..":
            segments = segments[:-1]
        elif name not in {"", "."}:
            segments.append(segment)
    return "/" + "/".join(segments)


def _read(
    http: Request, providers: Mapping[str, str], trusted_hosts: Collection[str]
) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an ``ApiRequest`` in the order in which they are checked."""
    query, format, error = _negotiate(http)
    host = _host(http)
    yield from (("query", query), ("format", format), ("host", host))
    path = _path(http)
    matrix = _matrix(path)
    yield "provider", _provider(http, matrix, query, providers)
    if http.method == "OPTIONS":
        yield "allow", _allowed_methods(path)
        return
    if error is not None:
        raise error
    _check_host(host, trusted_hosts)
    prefix = encoded_prefix(http.environ)
    match = routes.match(_method(http), path)
    yield from (("handler", match.handler), ("id", match.id))
    yield "urls", Urls(http.host_url + prefix, matrix.items())
    _check_origin(http, host)
    if not match.is_public or (match.handler == "entry_point.show" and "force_auth" in query):
        yield "credentials", read_credentials(http)
    if http.method in {"POST", "DELETE"}:
        form = _form(http, query, match.handler)
        yield "form", form
        yield "provider", _provider(http, matrix, {**query, **form}, providers)


def _negotiate(http: Request) -> tuple[dict[str, str], Format, ApiError | None]:
    """Read the query and choose the format, also of the error that either of them may cause."""
    error = None
    accept = http.headers.get("Accept")
    try:
        query = parameters.query(http)
    except ApiError as unreadable:
        query, error = {}, unreadable
    try:
        format = negotiation.choose(query.get("format"), accept)
    except ApiError as not_acceptable:
        format, error = negotiation.choose_for_error(accept), error or not_acceptable
    return query, format, error


def _host(http: Request) -> str:
    if "HTTP_HOST" not in http.environ and http.http_version == "HTTP/1.1":
        return ""  # RFC 9112, 3.2
    host: str = http.host
    return host if _HOST.fullmatch(host) else ""


def _method(http: Request) -> str:
    """Return the method of a request; clients that cannot send DELETE name it in a header."""
    override = http.headers.get("X-HTTP-Method-Override", "").upper()
    is_delete = http.method == "POST" and override == "DELETE"
    method: str = override if is_delete else http.method
    return method


def _form(http: Request, query: Mapping[str, str], handler: str) -> dict[str, str]:
    try:
        return parameters.form(http)
    except ApiError as error:
        # Some clients send all parameters in the query, and a body of another type.
        needs_no_form = handler.endswith((".destroy", ".detach")) or not (
            _FORM_PARAMETERS.isdisjoint(query)
        )
        if error.status == 415 and needs_no_form:
            return {}
        raise


def _path(http: Request) -> str:
    try:
        path: str = http.path_info
    except UnicodeDecodeError as error:
        raise ApiError(404, "There is nothing here: the path is not UTF-8.") from error
    return path


def _matrix(path: str) -> dict[str, str]:
    _, pairs = split_matrix(path)
    matrix = dict(pairs)
    if len(matrix) != len(pairs):
        raise ApiError(400, "A matrix parameter is repeated: driver and provider are given once.")
    return matrix


def _provider(
    http: Request,
    matrix: Mapping[str, str],
    parameters: Mapping[str, str],
    providers: Mapping[str, str],
) -> str | None:
    """Return the provider that a request names, and check its driver; names have no case.

    The first source that names one decides: matrix parameters, headers, parameters.
    """

    def named(name: str) -> str:
        header = http.headers.get(f"X-Deltacloud-{name.title()}")
        return matrix.get(name) or header or parameters.get(f"api[{name}]") or ""

    driver, provider = named("driver"), named("provider")
    if driver.lower() not in {"", DRIVER}:
        raise ApiError(400, f"There is no driver {driver!r}, only {DRIVER}.")
    if provider and provider.lower() not in providers:
        known = ", ".join(dict.fromkeys(providers.values()))
        raise ApiError(400, f"There is no provider {provider!r}: the providers are {known}.")
    return providers.get(provider.lower())


def _allowed_methods(path: str) -> list[str]:
    methods = routes.allowed_methods(path)
    if not methods:
        raise routes.not_found(path)
    return methods


def _check_host(host: str, trusted_hosts: Collection[str]) -> None:
    if not host:
        raise ApiError(400, "The Host header is missing, or is not a host name.")
    trusted = [name.lower() for name in trusted_hosts]
    if trusted and not host_is_trusted(host.lower(), trusted):
        raise ApiError(400, f"The host {host} is not served here.")


def _check_origin(http: Request, host: str) -> None:
    # Browsers add Basic credentials to requests that a page of another site makes. The scheme does
    # not count: behind a balancer with TLS, it differs.
    if http.method in {"GET", "HEAD"}:
        return
    origin = http.headers.get("Origin")
    if origin is None:
        is_foreign = http.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}
    else:
        sent_from = origin.partition("://")[2]
        is_foreign = _without_default_port(sent_from) != _without_default_port(host)
    if is_foreign:
        raise ApiError(403, "Requests from a page of another site are refused.")


def _without_default_port(host: str) -> str:
    return host.lower().removesuffix(":443").removesuffix(":80")
