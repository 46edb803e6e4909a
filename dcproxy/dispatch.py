"""From a request to the operation that it asks for: who asks, where, and in which format."""

from collections.abc import Callable

from webob import Request, Response
from werkzeug.sansio.utils import host_is_trusted

from dcproxy import credentials, deltacloud, parameters, routes
from dcproxy.answers import host
from dcproxy.documents import choice
from dcproxy.ec2 import EC2
from dcproxy.errors import DeltacloudError
from dcproxy.operations.call import Call
from dcproxy.operations.table import OPERATIONS, PUBLIC_OPERATIONS
from dcproxy.settings import Settings
from dcproxy.trace import trace_of


def respond(
    request: Request, ec2: EC2, settings: Settings, pause: Callable[[float], None]
) -> Response:
    """Answer a request; ``pause`` waits for some seconds. Raises ``DeltacloudError``."""
    # Documents are made anew for each request: there is no range of one to go on with.
    request.range = None
    trace = trace_of(request.environ)
    path = _path(request)
    matrix = routes.driver_and_provider(path)
    provider = _provider(request, dict(matrix), ec2)
    trace.provider = provider or ""
    if request.method == "OPTIONS":
        return _options(path)
    query = parameters.query(request)
    format = choice.choose(query.get("format"), request.headers.get("Accept"))
    application_url = _application_url(request, settings.trusted_hosts)
    route, urls = routes.match(request.method, path, application_url, matrix)
    trace.operation, trace.id, trace.urls = route.operation, route.id, urls
    _check_origin(request)
    is_public = route.operation in PUBLIC_OPERATIONS
    caller = None if is_public else credentials.from_request(request)
    call = Call(request, query, route, urls, format, provider, caller, ec2, settings, trace, pause)
    return OPERATIONS[route.operation](call)


def _path(request: Request) -> str:
    try:
        path: str = request.path_info
    except UnicodeDecodeError:
        raise DeltacloudError(404, "There is nothing here: the address is not UTF-8.") from None
    return path


def _provider(request: Request, matrix: dict[str, str], ec2: EC2) -> str | None:
    driver = matrix.get("driver") or request.headers.get("X-Deltacloud-Driver")
    if driver and driver != deltacloud.DRIVER:
        raise DeltacloudError(400, f"There is no driver {driver!r}, only {deltacloud.DRIVER}.")
    provider = matrix.get("provider") or request.headers.get("X-Deltacloud-Provider") or None
    if provider and provider not in ec2.hosts:
        raise DeltacloudError(
            400, f"There is no provider {provider!r}: the providers are {', '.join(ec2.hosts)}."
        )
    return provider


def _options(path: str) -> Response:
    methods = routes.allowed_methods(path)
    if not methods:
        raise routes.nothing_at(path)
    return Response(headerlist=[("Allow", ", ".join(methods)), ("Content-Length", "0")])


def _application_url(request: Request, trusted_hosts: tuple[str, ...]) -> str:
    name = host(request)
    if not name:
        raise DeltacloudError(400, "The Host header is not the name of a host.")
    if trusted_hosts and not host_is_trusted(name, trusted_hosts):
        raise DeltacloudError(400, f"This is not {name}.")
    url: str = request.application_url
    return url


def _check_origin(request: Request) -> None:
    # Browsers send Basic credentials along with what a foreign page makes them ask for. The
    # scheme does not count: behind a balancer that speaks TLS, ours is another one.
    if request.method in {"GET", "HEAD"}:
        return
    origin = request.headers.get("Origin")
    if origin is None:
        foreign = request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}
    else:
        foreign = _without_default_port(origin.partition("://")[2]) != _without_default_port(
            host(request)
        )
    if foreign:
        raise DeltacloudError(403, "A page of another site must not act here.")


def _without_default_port(host: str) -> str:
    return host.lower().removesuffix(":443").removesuffix(":80")
