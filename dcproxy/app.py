"""The WSGI application, and the factories that Paste calls."""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from webob import Request, Response
from werkzeug.wsgi import get_host

from dcproxy import deltacloud, parameters, settings
from dcproxy.documents import choice
from dcproxy.ec2 import EC2
from dcproxy.error_document import ID, NAMED_PROVIDER, URLS, address, error_document
from dcproxy.errors import DeltacloudError
from dcproxy.operations.call import Call
from dcproxy.operations.table import OPERATIONS
from dcproxy.routes import allowed_methods, asks_for_snapshots, match
from dcproxy.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)


def app_factory(global_conf: dict[str, str], **options: str) -> "WSGIApplication":
    """Make the application of a Paste section (``use = egg:dcproxy``).

    Raises ``SettingError`` for an option that is not known or not allowed.
    """
    _name_the_server()
    return application(settings.from_options(options, Settings))


def filter_factory(
    global_conf: dict[str, str], **options: str
) -> "Callable[[WSGIApplication], WSGIApplication]":
    """Make the filter of a Paste section, for the front of an old server.

    It answers the storage snapshots of the ec2 driver, and hands everything else on untouched.
    Raises as ``app_factory``.
    """
    ours = app_factory(global_conf, **options)

    def around(app: "WSGIApplication") -> "WSGIApplication":
        def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
            is_ours = asks_for_snapshots(path, environ.get("HTTP_X_DELTACLOUD_DRIVER"))
            return (ours if is_ours else app)(environ, start_response)

        return answer

    return around


def _name_the_server() -> None:
    # Clients compare Server with the entry point's version. gunicorn drops an application's
    # Server header and writes this module attribute instead.
    gunicorn_wsgi = sys.modules.get("gunicorn.http.wsgi")
    if gunicorn_wsgi is not None:
        gunicorn_wsgi.SERVER = deltacloud.SERVER  # type: ignore[attr-defined]


def application(settings: Settings) -> "WSGIApplication":
    """Make the WSGI application that answers Deltacloud requests with EC2.

    Raises ``SettingError`` for a default provider that is no region of EC2.
    """
    ec2 = EC2(settings)

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = _respond(request, ec2, settings)
        except DeltacloudError as error:
            response = error_document(request, error)
        except Exception:
            log.exception("%s %s failed", request.method, address(environ))
            fault = DeltacloudError(500, "This is a fault of the server. It has been logged.")
            response = error_document(request, fault)
        response.headers.update(_COMMON_HEADERS.items())
        if NAMED_PROVIDER in environ:
            response.headers["X-Deltacloud-Provider"] = environ[NAMED_PROVIDER]
        return response(environ, start_response)

    return answer


_COMMON_HEADERS = {
    "Cache-Control": "max-age=0, private, must-revalidate",
    "Server": deltacloud.SERVER,
    "Via": "1.1 dcproxy",
    "X-Deltacloud-Driver": deltacloud.DRIVER,
}


def _respond(request: Request, ec2: EC2, settings: Settings) -> Response:
    path = _path(request)
    # Documents are made anew for each request: there is no range of one to go on with.
    request.range = None
    if request.method == "OPTIONS":
        return _options(path)
    query = parameters.query(request)
    format = choice.choose(query.get("format"), request.headers.get("Accept"))
    route, urls = match(request.method, path, _application_url(request))
    request.environ[ID] = route.id
    request.environ[URLS] = urls
    _check_origin(request)
    _check_driver(route.driver or request.headers.get("X-Deltacloud-Driver"))
    provider = route.provider or request.headers.get("X-Deltacloud-Provider") or None
    if provider:
        _check_provider(provider, ec2)
        request.environ[NAMED_PROVIDER] = provider
    return OPERATIONS[route.operation](
        Call(request, query, route, urls, format, provider, ec2, settings)
    )


def _path(request: Request) -> str:
    try:
        path: str = request.path_info
    except UnicodeDecodeError:
        raise DeltacloudError(404, "There is nothing here: the address is not UTF-8.") from None
    return path


def _application_url(request: Request) -> str:
    if not get_host(request.environ):
        raise DeltacloudError(400, "The Host header is not the name of a host.")
    url: str = request.application_url
    return url


def _options(path: str) -> Response:
    methods = allowed_methods(path)
    if not methods:
        raise DeltacloudError(404, f"There is nothing at {path}.")
    return Response(allow=methods, content_type=None)


def _check_origin(request: Request) -> None:
    # Browsers send Basic credentials along with what a foreign page makes them ask for. The
    # scheme does not count: behind a balancer that speaks TLS, ours is another one.
    if request.method in {"GET", "HEAD"}:
        return
    origin = request.headers.get("Origin")
    if origin is None:
        foreign = request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}
    else:
        foreign = origin.lower().partition("://")[2] != get_host(request.environ).lower()
    if foreign:
        raise DeltacloudError(403, "A page of another site must not act here.")


def _check_driver(driver: str | None) -> None:
    if driver and driver != deltacloud.DRIVER:
        raise DeltacloudError(400, f"There is no driver {driver!r}, only {deltacloud.DRIVER}.")


def _check_provider(provider: str, ec2: EC2) -> None:
    if provider not in ec2.hosts:
        raise DeltacloudError(
            400, f"There is no provider {provider!r}: the providers are {', '.join(ec2.hosts)}."
        )
