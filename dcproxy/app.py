"""The WSGI application and the Paste factories: they wire the parts together."""

import gc
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from webob import Request, Response
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.utils import import_string
from werkzeug.wsgi import ClosingIterator

from dcproxy import settings
from dcproxy.auth.caller import Callers
from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.protocol import COLLECTIONS, SERVER
from dcproxy.deltacloud.request import ApiRequest, encoded_prefix, is_for_collections, read_request
from dcproxy.deltacloud.responses import add_common_headers, error_response, options_response
from dcproxy.deltacloud.routes import ROUTES
from dcproxy.deltacloud.urls import ENTRY_POINT
from dcproxy.ec2.client import EC2Client
from dcproxy.operations.call import ApiCall
from dcproxy.operations.capacity import Capacity
from dcproxy.operations.translation import api_error, provider_names
from dcproxy.request_log import RequestLog
from dcproxy.runtime import Runtime
from dcproxy.server import connections, log_format, metrics, worker
from dcproxy.server.connections import TimeLimits
from dcproxy.server.instrumentation import instrumented
from dcproxy.server.transport import arrived_at, ignore_forwarding
from dcproxy.settings import Settings

Operation = Callable[[ApiCall], Response]

_RUNTIME = Runtime()

_RESPONSE_SECONDS = 1.0
"""What remains of the deadline to write the response."""


def app_factory(global_conf: dict[str, str], **options: str) -> WSGIApplication:
    """Create the application of a Paste section (``use = egg:dcproxy``).

    Raises ``SettingError`` for an option that is not known or not allowed.
    """
    worker.set_server_header(SERVER)
    worker.hide_requests_in_logs()
    ours = _settings(global_conf, options)
    connections.set_time_limits(TimeLimits(ours.request_timeout, ours.idle_timeout))
    log_format.configure(ours.log_format, global_conf.get("__file__"))
    app = application(ours)
    # botocore's models live as long as the worker: garbage collection need not visit them again.
    gc.collect()
    gc.freeze()
    return app


def _settings(global_conf: dict[str, str], options: dict[str, str]) -> Settings:
    # The command passes on its own option in this way.
    of_command = {name: global_conf[name] for name in global_conf.keys() & {"admin_bind"}}
    return settings.from_options(options | of_command)


def filter_factory(
    global_conf: dict[str, str], **options: str
) -> Callable[[WSGIApplication], WSGIApplication]:
    """Create the filter of a Paste section, for the front of an old server.

    It answers requests for the ``collections`` of the ec2 driver and passes on all others
    unchanged. All requests at the address of ``admin_bind`` are its own. Raises as ``app_factory``.
    """
    ours = app_factory(global_conf, **options)
    own = _settings(global_conf, options)

    def filter(app: WSGIApplication) -> WSGIApplication:
        def filtered(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            is_admin = own.admin_bind is not None and arrived_at(environ, own.admin_bind)
            is_ours = is_admin or is_for_collections(Request(environ), own.collections)
            return (ours if is_ours else app)(environ, start_response)

        return filtered

    return filter


def application(settings: Settings, runtime: Runtime = _RUNTIME) -> WSGIApplication:
    """Create the WSGI application that answers Deltacloud requests with EC2.

    Raises ``SettingError`` for a default provider that is not a region of EC2, and for files of
    accounts that are wrong.
    """
    recorded = metrics.get_metrics()
    ec2 = EC2Client(settings, runtime, recorded.record_ec2_call)
    operations = _operations()
    callers = Callers(settings, runtime, ec2.hosts)
    providers = provider_names(ec2.hosts)

    places_per_key = max(1, settings.capacity * settings.share_per_key // 100)
    capacity = Capacity(settings.capacity, places_per_key, recorded.record_refusal)

    def respond(
        request: ApiRequest, request_log: RequestLog, deadline: float, end: ExitStack
    ) -> Response:
        if request.error is not None:
            raise request.error
        if request.allow:
            return options_response(request.allow)
        assert request.urls is not None  # noqa: S101 (a request without an error has them)
        operation = operations[request.handler]
        api_call = ApiCall(
            request, request.urls, callers, ec2, settings, request_log, runtime, deadline
        )
        if not request.credentials:
            return operation(api_call)
        caller = api_call.caller
        credentials = request.credentials
        if caller.is_account:
            # Nothing checks a token that is sent with the password of an account.
            credentials = replace(credentials, session_token="")
        place = capacity.occupy(credentials, api_call.seconds_left)
        end.callback(place.close)
        response = operation(replace(api_call, place=place))
        place.pause()
        return response

    def handle(
        environ: WSGIEnvironment, start_response: StartResponse, request_log: RequestLog
    ) -> Iterable[bytes]:
        started = runtime.monotonic()
        deadline = started + settings.deadline - _RESPONSE_SECONDS
        http = Request(environ)
        # Documents are created for each request: none has parts or a date to compare. WebOb raises
        # for dates out of range.
        http.range = http.if_modified_since = None
        request = read_request(http, providers, settings.trusted_hosts)
        request_log.provider = request.provider or ""
        request_log.operation = request.handler or "none"
        if request.credentials and settings.accounts is None:
            request_log.access_key_id = request.credentials.user[-4:]
        with ExitStack() as end:
            try:
                response = respond(request, request_log, deadline, end)
            except Exception as error:
                response = error_response(request, api_error(error), request_log)
            add_common_headers(response, request_log)
            collection, _, operation = request.handler.partition(".")
            is_read = collection in COLLECTIONS and operation in {"index", "show"}
            if is_read and response.status_code == 200:
                response.headers["X-Backend-Runtime"] = f"{runtime.monotonic() - started:.6f}"
            # A list goes on calling EC2 until it is closed.
            return ClosingIterator(response(environ, start_response), end.pop_all().close)

    operational = _operational_endpoints(settings, capacity)
    deltacloud = instrumented(handle, recorded, settings.provider)

    def root(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            location = encoded_prefix(environ) + ENTRY_POINT
        except ApiError:
            return deltacloud(environ, start_response)  # which answers with the error
        start_response("302 Found", [("Location", location), ("Content-Length", "0")])
        return []

    admin_bind = settings.admin_bind
    public = {"/": _with_common_headers(root)} | ({} if admin_bind else operational)
    public_app = _trusting(settings.trusted_proxies, _by_path(public, deltacloud))
    admin_app = _by_path(operational, _with_common_headers(_text("404 Not Found", "not found")))

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        ignore_forwarding(environ)
        is_admin = admin_bind is not None and arrived_at(environ, admin_bind)
        return (admin_app if is_admin else public_app)(environ, start_response)

    return app


def _by_path(apps: Mapping[str, WSGIApplication], other: WSGIApplication) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return apps.get(environ.get("PATH_INFO", ""), other)(environ, start_response)

    return app


def _trusting(proxies: int, app: WSGIApplication) -> WSGIApplication:
    """Let an application use the ``X-Forwarded-*`` headers of so many proxies in front of it."""
    if not proxies:
        return app
    return ProxyFix(
        app, x_for=proxies, x_proto=proxies, x_host=proxies, x_port=proxies, x_prefix=proxies
    )


def _operations() -> dict[str, Operation]:
    """Import the operations that the route table names."""
    handlers = {route.handler for route in ROUTES}
    return {handler: import_string(f"dcproxy.operations.{handler}") for handler in handlers}


def _operational_endpoints(settings: Settings, capacity: Capacity) -> dict[str, WSGIApplication]:
    """Create what answers outside of Deltacloud, by path. Nothing there waits for EC2."""

    def ready(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if capacity.has_free_place():
            return _text("200 OK", "ok")(environ, start_response)
        return _text("503 Service Unavailable", "at capacity")(environ, start_response)

    endpoints: dict[str, WSGIApplication] = {}
    if settings.health:
        endpoints[settings.health] = _with_common_headers(_text("200 OK", "ok"))
    if settings.ready:
        endpoints[settings.ready] = _with_common_headers(ready)
    if settings.metrics:
        endpoints[settings.metrics] = _with_common_headers(metrics.exposition())
    return endpoints


def _with_common_headers(app: WSGIApplication) -> WSGIApplication:
    """Add the headers of every response outside of Deltacloud: it is neither cached nor guessed."""
    common = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]

    def wrapped(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*headers, *common], *more)

        return app(environ, start)

    return wrapped


def _text(status: str, text: str) -> WSGIApplication:
    body = f"{text}\n".encode()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    return app
