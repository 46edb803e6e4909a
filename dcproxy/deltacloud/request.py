"""An HTTP request, read once and in stages: everything after it is typed."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import parse_qsl
from wsgiref.types import WSGIEnvironment

from webob import Request
from werkzeug.sansio.utils import host_is_trusted

from dcproxy.deltacloud import negotiation, parameters, routes
from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.negotiation import Format
from dcproxy.deltacloud.protocol import DRIVER
from dcproxy.deltacloud.urls import ENTRY_POINT, Matrix, Urls, canonical_path

_FORM_PARAMETERS = {
    *("_method", "capacity", "driver", "instance_id", "provider", "snapshot_id", "volume_id")
}
"""Where the query has one of these, the body need not be a form."""

_HOST = re.compile(
    r"(?:[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """One request, as far as it was read.

    ``read_envelope`` sets what its response depends on, whatever is wrong with it: ``query`` is
    empty when it cannot be read, ``host`` has its port and is empty when malformed, ``path`` is
    canonical, ``matrix`` is what the path says about driver and provider, ``provider`` is None when
    the request names none that exists. ``idempotency_key`` is the header as it was sent.

    ``read_request`` sets ``handler``, which names its operation, ``id``, the member in its path,
    and ``needs_caller``: the operation calls EC2. ``read_form`` sets ``form``.
    """

    format: Format
    query: Mapping[str, str]
    query_string: str
    host: str
    path: str
    matrix: Matrix
    provider: str | None
    http_version: str
    idempotency_key: str | None
    urls: Urls = field(default_factory=partial(Urls, ""))
    handler: str = ""
    id: str = ""
    needs_caller: bool = False
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def takes_caller(self) -> bool:
        """Whether the operation may call EC2 when the caller is known."""
        return self.needs_caller or self.handler.endswith(".new")

    @property
    def parameters(self) -> Mapping[str, str]:
        """The parameters of query and form; those of the form take precedence."""
        return {**self.query, **self.form}


def read_envelope(http: Request, providers: Mapping[str, str]) -> ApiRequest:
    """Read what every response depends on. This cannot fail.

    ``providers`` maps the names that a request may use, in lower case, to providers.
    """
    environ = http.environ
    try:
        query = parameters.query(http)
    except ApiError:
        query = {}
    path, matrix = _path(environ)
    return ApiRequest(
        format=negotiation.choose_for_error(query.get("format"), environ.get("HTTP_ACCEPT")),
        query=query,
        query_string=environ.get("QUERY_STRING", ""),
        host=_host(http),
        path=path,
        matrix=matrix,
        provider=providers.get(_named("provider", environ, dict(matrix), query).lower()),
        http_version=environ.get("SERVER_PROTOCOL", ""),
        idempotency_key=environ.get("HTTP_IDEMPOTENCY_KEY"),
    )


def read_request(
    http: Request, request: ApiRequest, providers: Mapping[str, str], trusted_hosts: Collection[str]
) -> ApiRequest:
    """Read the rest of a request up to its body. Raises ``ApiError`` when it is wrong.

    ``providers`` are those of ``read_envelope``. ``trusted_hosts`` are the host names that a
    request may use; empty allows any.
    """
    environ, path, host = http.environ, request.path, request.host
    query = request.query or parameters.query(http)
    negotiation.choose(query.get("format"), environ.get("HTTP_ACCEPT"))
    try:
        environ.get("PATH_INFO", "").encode("latin-1").decode()
    except UnicodeDecodeError as error:
        raise ApiError(404, "There is nothing here: the path is not UTF-8.") from error
    if len(dict(request.matrix)) != len(request.matrix):
        raise ApiError(400, "A matrix parameter is repeated: driver and provider are given once.")
    _provider(environ, request, providers)
    if not host:
        raise ApiError(400, "The Host header is missing, or is not a host name.")
    trusted = [name.lower() for name in trusted_hosts]
    if trusted and not host_is_trusted(host.lower(), trusted):
        raise ApiError(400, f"The host {host} is not served here.")
    application_url = _application_url(http)
    # Clients that cannot send DELETE name it in a header.
    override = http.headers.get("X-HTTP-Method-Override", "").upper()
    is_delete = http.method == "POST" and override == "DELETE"
    route, id = routes.match("DELETE" if is_delete else http.method, path)
    _check_origin(http, host)
    # What another region shows: this page, but the collection in place of a member, which other
    # regions lack, or of the response to a form. The page with the regions gets it as a parameter.
    page = path.removeprefix(ENTRY_POINT) + (f"?{request.query_string}" if query else "")
    if route.handler == "drivers.show":
        page = query.get("page", "")
    elif id or http.method not in {"GET", "HEAD"}:
        page = f"/{route.handler.partition('.')[0]}"
    return replace(
        request,
        urls=Urls(application_url, request.matrix, page),
        handler=route.handler,
        id=id,
        needs_caller=not route.is_public
        or (route.handler == "entry_point.show" and "force_auth" in query),
    )


def read_form(http: Request, request: ApiRequest, providers: Mapping[str, str]) -> ApiRequest:
    """Read the form in the body of a request, which may name the provider.

    Raises ``ApiError``, as ``read_request``.
    """
    if http.method not in {"POST", "DELETE"}:
        return request
    try:
        form = parameters.form(http)
    except ApiError as error:
        # Some clients send all parameters in the query, and a body of another type.
        needs_no_form = request.handler.endswith((".destroy", ".detach")) or not (
            _FORM_PARAMETERS.isdisjoint(request.query)
        )
        if not (error.status == 415 and needs_no_form):
            raise
        form = {}
    request = replace(request, form=form)
    return replace(request, provider=_provider(http.environ, request, providers))


def _application_url(http: Request) -> str:
    """Return the URL of the application, percent-encoded.

    Raises a 400 ``ApiError`` unless its prefix is a path such as ``/clouds``: ``.example.com`` and
    ``//example.com`` would make the links of a response those of another host.
    """
    try:
        is_path = re.fullmatch("(/[^/]+)*/?", http.script_name)
    except UnicodeDecodeError as error:
        raise ApiError(400, "The prefix of the path is not UTF-8.") from error
    if not is_path:
        raise ApiError(400, "The prefix of the path is not a path: it takes one such as /clouds.")
    url: str = http.application_url
    return url.rstrip("/")


def is_for_collections(http: Request, collections: Collection[str]) -> bool:
    """Tell whether a request is for one of some collections of the ec2 driver, whatever its method.

    Path and driver are read as Deltacloud 1.1.3 reads them, also where dcproxy refuses them: of
    several drivers the first in the path decides, then the last in the query, then the header. The
    body is not read.
    """
    path, matrix = _path(http.environ)
    # Rack 1 separates parameters by semicolons too.
    query = dict(parse_qsl(http.query_string.replace(";", "&")))
    driver = _named("driver", http.environ, dict(reversed(matrix)), query) or DRIVER
    first, collection, *_ = [*path.split("/")[1:], ""]
    is_below = f"/{first}" == ENTRY_POINT
    return is_below and collection in collections and driver.lower() == DRIVER


def _host(http: Request) -> str:
    if "HTTP_HOST" not in http.environ and http.http_version == "HTTP/1.1":
        return ""  # RFC 9112, 3.2
    host: str = http.host
    return host if _HOST.fullmatch(host) else ""


def _path(environ: WSGIEnvironment) -> tuple[str, Matrix]:
    path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
    return canonical_path(path)


def _named(
    name: str, environ: WSGIEnvironment, matrix: Mapping[str, str], parameters: Mapping[str, str]
) -> str:
    """Return the driver or provider that a request names, or an empty text.

    The first source that names one decides: matrix parameters, query or form, header.
    """
    header = environ.get(f"HTTP_X_DELTACLOUD_{name.upper()}")
    return matrix.get(name) or parameters.get(f"api[{name}]") or header or ""


def _provider(
    environ: WSGIEnvironment, request: ApiRequest, providers: Mapping[str, str]
) -> str | None:
    """Return the provider that a request names, and check its driver; names have no case."""
    driver, provider = (
        _named(name, environ, dict(request.matrix), request.parameters)
        for name in ("driver", "provider")
    )
    if driver.lower() not in {"", DRIVER}:
        raise ApiError(400, f"There is no driver {driver!r}, only {DRIVER}.")
    if provider and provider.lower() not in providers:
        known = ", ".join(dict.fromkeys(providers.values()))
        raise ApiError(400, f"There is no provider {provider!r}: the providers are {known}.")
    return providers.get(provider.lower())


def _check_origin(http: Request, host: str) -> None:
    # Browsers add Basic credentials to requests that a page of another site makes. The scheme does
    # not count: behind a balancer with TLS, it differs.
    if http.method in {"GET", "HEAD", "OPTIONS"}:
        return
    origin = http.headers.get("Origin")
    if origin is None:
        is_foreign = http.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}
    else:
        sent_from, served = (
            name.lower().removesuffix(":443").removesuffix(":80")
            for name in (origin.partition("://")[2], host)
        )
        is_foreign = sent_from != served
    if is_foreign:
        raise ApiError(403, "Requests from a page of another site are refused.")
