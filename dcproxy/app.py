"""The WSGI application, and the factory that Paste calls."""

import logging
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from webob import Request, Response
from werkzeug.wsgi import get_host

from dcproxy import deltacloud, parameters, settings
from dcproxy.documents import choice
from dcproxy.documents.report import ErrorReport
from dcproxy.ec2 import EC2
from dcproxy.errors import DeltacloudError
from dcproxy.operations import OPERATIONS, Call
from dcproxy.routes import allowed_methods, match
from dcproxy.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)


def app_factory(global_conf: dict[str, str], **options: str) -> "WSGIApplication":
    """Make the application of a Paste section (``use = egg:dcproxy``).

    Raises ``SettingError`` for an option that is not known or not allowed.
    """
    _name_the_server()
    return application(settings.from_options(options))


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
            response = _error_document(request, error)
        except Exception:
            log.exception("%s %s failed", request.method, _address(environ))
            fault = DeltacloudError(500, "This is a fault of the server. It has been logged.")
            response = _error_document(request, fault)
        response.headers.update(_COMMON_HEADERS.items())
        if _NAMED_PROVIDER in environ:
            response.headers["X-Deltacloud-Provider"] = environ[_NAMED_PROVIDER]
        return response(environ, start_response)

    return answer


_COMMON_HEADERS = {
    "Cache-Control": "max-age=0, private, must-revalidate",
    "Server": deltacloud.SERVER,
    "Via": "1.1 dcproxy",
    "X-Deltacloud-Driver": deltacloud.DRIVER,
}
# What is known of a request so far, for whoever answers it in the end.
_NAMED_PROVIDER = "dcproxy.named_provider"
_ID = "dcproxy.id"


def _respond(request: Request, ec2: EC2, settings: Settings) -> Response:
    path = _path(request)
    if request.method == "OPTIONS":
        return _options(path)
    query = parameters.query(request)
    format = choice.choose(query.get("format"), request.headers.get("Accept"))
    route, urls = match(request.method, path, _application_url(request))
    request.environ[_ID] = route.id
    _check_driver(route.driver or request.headers.get("X-Deltacloud-Driver"))
    provider = route.provider or request.headers.get("X-Deltacloud-Provider") or None
    if provider:
        _check_provider(provider, ec2)
        request.environ[_NAMED_PROVIDER] = provider
    return OPERATIONS[route.operation](
        Call(request, query, route, urls, format, provider, ec2, settings)
    )


def _path(request: Request) -> str:
    try:
        path: str = request.path_info
    except UnicodeDecodeError:
        raise DeltacloudError(404, "There is nothing here: the address is not UTF-8.") from None
    return path


def _address(environ: "WSGIEnvironment") -> str:
    """Write path and query as the client sent them, whatever bytes they are."""
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    query = environ.get("QUERY_STRING")
    return quote(path, safe="/;=", encoding="latin-1") + (f"?{query}" if query else "")


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


def _check_driver(driver: str | None) -> None:
    if driver and driver != deltacloud.DRIVER:
        raise DeltacloudError(400, f"There is no driver {driver!r}, only {deltacloud.DRIVER}.")


def _check_provider(provider: str, ec2: EC2) -> None:
    if provider not in ec2.hosts:
        raise DeltacloudError(
            400, f"There is no provider {provider!r}: the providers are {', '.join(ec2.hosts)}."
        )


def _error_document(request: Request, error: DeltacloudError) -> Response:
    try:
        query = parameters.query(request)
        format = choice.choose(query.get("format"), request.headers.get("Accept"))
    except DeltacloudError:
        query, format = {}, choice.DEFAULT
    id = request.environ.get(_ID)
    report = ErrorReport(
        status=error.status,
        reason=HTTPStatus(error.status).phrase,
        message=error.message,
        ec2_code=error.ec2_code,
        url=_address(request.environ),
        provider=request.environ.get(_NAMED_PROVIDER, ""),
        parameters=query | {"id": id} if id else query,
    )
    response = Response(
        format.documents.error(report).encode(),
        status=error.status,
        headerlist=[("Content-Type", format.content_type)],
    )
    response.headers.update(error.headers.items())
    if error.status == 401:
        response.www_authenticate = f'Basic realm="ec2-deltacloud@{get_host(request.environ)}"'
    return response
