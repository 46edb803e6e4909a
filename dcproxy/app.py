"""The path of a request from top to bottom, and the Paste factories."""

import logging
import os
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from botocore.utils import get_environ_proxies
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
from dcproxy.server.operational import by_path, instrumented, operational_endpoints, text
from dcproxy.server.transport import arrived_at, ignore_forwarding, warn_of_worker_class
from dcproxy.settings import Settings, without_password

log = logging.getLogger(__name__)

_RUNTIME = Runtime()

_RESPONSE_SECONDS = 1.0
"""What remains of the deadline to write the response."""


def app_factory(global_conf: dict[str, str], **options: str) -> WSGIApplication:
    """Create the application of a Paste section (``use = egg:dcproxy``).

    Raises ``SettingError`` for an option that is not known or not allowed.
    """
    own = _settings(global_conf, options)
    return _with_settings(application(own), own)


def _with_settings(app: WSGIApplication, settings: Settings) -> WSGIApplication:
    """Let the server find the options that concern it: time limits of clients, and logs."""
    app.settings = settings  # type: ignore[attr-defined]
    return app


def _settings(global_conf: dict[str, str], options: dict[str, str]) -> Settings:
    # The command passes on its own option in this way.
    of_command = {name: global_conf[name] for name in global_conf.keys() & {"admin_bind"}}
    if options.get("ready"):
        log.warning("option ready has no effect: the readiness check was removed")
    return settings.from_options(options | of_command)


def summary(settings: Settings, accounts: int) -> str:
    """Describe for the log where EC2 is called, through what, and how many accounts there are."""
    url = settings.ec2_endpoint_url or f"https://ec2.{settings.provider}.amazonaws.com"
    proxy = get_environ_proxies(url).get(urlsplit(url).scheme, "none")
    return (
        f"EC2 {settings.ec2_endpoint_url or 'of AWS'}, proxy {without_password(proxy)}, "
        f"CA file {os.environ.get('AWS_CA_BUNDLE') or 'default'}, accounts {accounts}"
    )


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
        def filtered(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            is_admin = own.admin_bind is not None and arrived_at(environ, own.admin_bind)
            is_ours = is_admin or is_for_collections(Request(environ), own.collections)
            return (ours if is_ours else app)(environ, start_response)

        filtered.accounts = getattr(ours, "accounts", 0)  # type: ignore[attr-defined]
        return _with_settings(filtered, own)

    return filter


def application(settings: Settings, runtime: Runtime = _RUNTIME) -> WSGIApplication:
    """Create the WSGI application that answers Deltacloud requests with EC2.

    Raises ``SettingError`` for a default provider that is not a region of EC2, and for files of
    accounts that are wrong.
    """
    metrics = get_metrics()
    client = EC2Client(
        settings, runtime, counting(metrics.ec2_requests), counting(metrics.requests_over_capacity)
    )
    callers = Callers(settings, runtime, client.hosts, counting(metrics.account_credentials))
    providers = provider_names(client.hosts)
    # Accounts have regions of their own.
    default_region = settings.provider if settings.accounts is None else ""
    nobody = Caller("", default_region, False, _require_credentials)
    operations = _operations()
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
            request.urls.region = request.provider or caller.region
            call = ApiCall(
                request=request,
                caller=caller,
                region=request.urls.region,
                client=client,
                settings=settings,
                log=request_log,
                runtime=runtime,
                deadline=deadline,
            )
            response = operations[request.handler](call)
        except Exception as error:
            failure = api_error(error)
            if settings.accounts and failure.status == 401 and caller.name:
                # With own_keys: neither an account nor a key that EC2 knows.
                request_log.record_failed_login(caller.name, environ.get("REMOTE_ADDR", ""))
            request_log.record_error(
                failure.message, failure.code, failure.status, failure.__cause__
            )
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
        address = environ.get("REMOTE_ADDR", "")
        try:
            credentials = parse_credentials(
                environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
            )
            if settings.accounts is None:
                request_log.access_key_id = credentials.user[-4:]
            try:
                caller = callers.identify(credentials, address, seconds)
            except LoginFailedError:
                request_log.record_failed_login(credentials.user, address)
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
    deltacloud = instrumented(handle, metrics, settings.provider)

    admin_bind = settings.admin_bind
    public = deltacloud if admin_bind else by_path(operational, deltacloud)
    count = settings.trusted_proxies
    public_app = ProxyFix(
        public, x_for=count, x_proto=count, x_host=count, x_port=count, x_prefix=count
    )
    admin_app = by_path(operational, text("404 Not Found", "not found"))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        connection = environ.get("gunicorn.socket")
        if connection is not None and not hasattr(connection, "client_has_left"):
            warn_of_worker_class()
        ignore_forwarding(environ)
        is_admin = admin_bind is not None and arrived_at(environ, admin_bind)
        return (admin_app if is_admin else public_app)(environ, start_response)

    app.accounts = callers.accounts  # type: ignore[attr-defined]
    return app


def _require_credentials(seconds: float) -> AccessKey:
    raise ApiError(401, "Credentials are required.")


def _operations() -> dict[str, Callable[[ApiCall], Response]]:
    """Import the operations that the route table names."""
    handlers = {METHODS_HANDLER, *(route.handler for route in ROUTES)}
    return {handler: import_string(f"dcproxy.operations.{handler}") for handler in handlers}
