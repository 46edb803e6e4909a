"""The path of a request from top to bottom, and the Paste factories."""

import logging
from collections.abc import Callable, Iterable
from functools import wraps
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from webob import Request, Response
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.utils import import_string

from dcproxy import settings
from dcproxy.auth.caller import Caller, Callers
from dcproxy.auth.keys import parse_credentials
from dcproxy.auth.passwords import LoginFailedError
from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.protocol import COLLECTIONS
from dcproxy.deltacloud.request import (
    ApiRequest,
    is_for_collections,
    read_envelope,
    read_form,
    read_request,
)
from dcproxy.deltacloud.responses import add_common_headers, error_response
from dcproxy.deltacloud.routes import METHODS_HANDLER, ROUTES
from dcproxy.ec2.client import EC2Client
from dcproxy.ec2.session import ACTIONS, AccessKey
from dcproxy.operations.call import ApiCall
from dcproxy.operations.translation import api_error, provider_names
from dcproxy.request_log import RequestLog
from dcproxy.runtime import Runtime
from dcproxy.server.metrics import counting, get_metrics
from dcproxy.server.operational import instrumented, operational_endpoints, text
from dcproxy.server.transport import arrived_at, ignore_forwarding, warn_of_worker_class
from dcproxy.settings import Settings

log = logging.getLogger(__name__)

_RUNTIME = Runtime()

_RESPONSE_SECONDS = 1.0  # what remains of the deadline to write the response


def app_factory(global_conf: dict[str, str], **options: str) -> WSGIApplication:
    """Create the application of a Paste section (`use = egg:dcproxy`). Raises ``SettingError``."""
    return application(_settings(global_conf, options))


def _settings(global_conf: dict[str, str], options: dict[str, str]) -> Settings:
    # The command passes on its own option in this way.
    of_command = {name: global_conf[name] for name in global_conf.keys() & {"admin_bind"}}
    if options.get("ready"):
        log.warning("option ready has no effect: the readiness check was removed")
    return settings.from_options(options | of_command)


def filter_factory(
    global_conf: dict[str, str], **options: str
) -> Callable[[WSGIApplication], WSGIApplication]:
    """Create the filter of a Paste section, for the front of an old server.

    It answers requests for the ``collections`` of the ec2 driver and passes on all others
    unchanged. All requests at the address of ``admin_bind`` are its own. Raises as ``app_factory``.
    """
    own = _settings(global_conf, options)
    ours = application(own)

    def filter(app: WSGIApplication) -> WSGIApplication:
        @wraps(ours)  # with what the server reads
        def filtered(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            is_admin = arrived_at(environ, own.admin_bind)
            is_ours = is_admin or is_for_collections(Request(environ), own.collections)
            return (ours if is_ours else app)(environ, start_response)

        return filtered

    return filter


def application(settings: Settings, runtime: Runtime = _RUNTIME) -> WSGIApplication:
    """Create the WSGI application that answers Deltacloud requests with EC2.

    Raises ``SettingError`` for a provider that is no region, and for wrong files of accounts.
    """
    metrics = get_metrics()
    over_capacity = counting(metrics.requests_over_capacity)
    client = EC2Client(settings, runtime, counting(metrics.ec2_requests), over_capacity)
    callers = Callers(settings, runtime, client.hosts, counting(metrics.account_credentials))
    providers = provider_names(client.hosts)
    # Accounts have regions of their own.
    default_region = settings.provider if settings.accounts is None else ""
    nobody = Caller("", default_region, False, _require_credentials)
    handlers = {METHODS_HANDLER, *(route.handler for route in ROUTES)}
    operations = {name: import_string(f"dcproxy.operations.{name}") for name in handlers}
    metrics.begin({*operations, "none"}, ACTIONS)

    def handle(
        environ: WSGIEnvironment, start_response: StartResponse, request_log: RequestLog
    ) -> Iterable[bytes]:
        started = runtime.monotonic()
        deadline = started + settings.deadline - _RESPONSE_SECONDS
        # Documents are created for each request: none has parts or a date to compare. WebOb raises
        # for dates out of range.
        environ.pop("HTTP_RANGE", None)
        environ.pop("HTTP_IF_MODIFIED_SINCE", None)
        http = Request(environ)
        known, caller = read_envelope(http, providers), nobody
        try:
            known = request = read_request(http, known, providers, settings.trusted_hosts)
            request_log.operation = request.handler
            caller = identify(environ, request, request_log, deadline - runtime.monotonic())
            known = request = read_form(http, request, providers)
            request.urls.region = region = request.provider or caller.region
            call = ApiCall(
                request, caller, region, client, settings, request_log, runtime, deadline
            )
            response: Response = operations[request.handler](call)
        except Exception as error:
            failure = api_error(error)
            # After a wrong password, it is nobody.
            if settings.accounts and failure.status == 401 and caller.name:
                # With own_keys: neither an account nor a key that EC2 knows.
                request_log.record_failed_login(caller.name)
            cause = failure.__cause__
            request_log.record_error(failure.message, failure.code, failure.status, cause)
            request_log.is_refused = failure.is_refusal
            response = error_response(known, failure, request_log)
        request_log.provider = known.provider or ""
        add_common_headers(response, request_log)
        collection, _, operation = request_log.operation.partition(".")
        is_read = collection in COLLECTIONS and operation in {"index", "show"}
        if is_read and response.status_code == 200:
            response.headers["X-Backend-Runtime"] = f"{runtime.monotonic() - started:.6f}"
        return response(environ, start_response)

    def identify(
        environ: WSGIEnvironment, request: ApiRequest, request_log: RequestLog, seconds: float
    ) -> Caller:
        """Return who sends a request, or raise a 401 ``ApiError``."""
        if not request.takes_caller:
            return nobody
        try:
            credentials = parse_credentials(
                environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
            )
            if settings.accounts is None:
                request_log.access_key_id = credentials.user[-4:]
            try:
                caller = callers.identify(credentials, request_log.client, seconds)
            except LoginFailedError:
                request_log.record_failed_login(credentials.user)
                raise
        except ApiError:
            if request.needs_caller:
                raise
            return nobody  # a form has no choices then
        if caller.is_account:
            request_log.account = caller.name
            request_log.default_provider = caller.region
        return caller

    operational = operational_endpoints(settings.health, settings.metrics)
    not_found = text("404 Not Found", "not found")
    public = instrumented(handle, metrics, settings.provider)
    deltacloud = ProxyFix(public, *[settings.trusted_proxies] * 5)  # for, proto, host, port, prefix

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        connection = environ.get("gunicorn.socket")
        if connection is not None and not hasattr(connection, "client_has_left"):
            warn_of_worker_class()
        ignore_forwarding(environ)
        is_admin = arrived_at(environ, settings.admin_bind)
        other = not_found if is_admin else deltacloud
        apps = operational if is_admin or not settings.admin_bind else {}
        return apps.get(environ.get("PATH_INFO", ""), other)(environ, start_response)

    # For the server: time limits of clients, logs and what it says of itself.
    vars(app).update(settings=settings, accounts=callers.accounts)
    return app


def _require_credentials(seconds: float) -> AccessKey:
    raise ApiError(401, "Credentials are required.")
