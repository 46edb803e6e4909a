"""The WSGI application and the Paste factories: they wire the parts together."""

import gc
from collections.abc import Callable, Iterable
from urllib.parse import quote
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from webob import Request, Response
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.utils import import_string

from dcproxy import settings, upstream
from dcproxy.context import RequestContext, Runtime
from dcproxy.deltacloud.protocol import COLLECTIONS, SERVER
from dcproxy.deltacloud.request import ApiRequest, is_for_collections, read_request
from dcproxy.deltacloud.responses import add_common_headers, error_response, options_response
from dcproxy.deltacloud.routes import ROUTES
from dcproxy.deltacloud.urls import ENTRY_POINT
from dcproxy.ec2.client import EC2Client
from dcproxy.operations.context import OperationContext
from dcproxy.operations.translation import api_error, provider_names
from dcproxy.server import connections, gunicorn, logs, metrics
from dcproxy.server.connections import TimeLimits
from dcproxy.server.instrumentation import instrumented, with_context
from dcproxy.settings import Settings, UpstreamSettings

Operation = Callable[[OperationContext], Response]

_RUNTIME = Runtime()

_RESPONSE_SECONDS = 1.0
"""What remains of the deadline to write the response."""


def app_factory(global_conf: dict[str, str], **options: str) -> WSGIApplication:
    """Create the application of a Paste section (``use = egg:dcproxy``).

    Raises ``SettingError`` for an option that is not known or not allowed.
    """
    gunicorn.set_server_header(SERVER)
    gunicorn.hide_requests_in_logs()
    ours = settings.from_options(options, Settings)
    connections.set_time_limits(TimeLimits(ours.request_timeout, ours.idle_timeout))
    logs.configure(ours.log_format, global_conf.get("__file__"))
    app = application(ours)
    # botocore's models live as long as the worker: garbage collection need not visit them again.
    gc.collect()
    gc.freeze()
    return app


def filter_factory(
    global_conf: dict[str, str], **options: str
) -> Callable[[WSGIApplication], WSGIApplication]:
    """Create the filter of a Paste section, for the front of an old server.

    It answers requests for the ``collections`` of the ec2 driver and passes on all others
    unchanged. Raises as ``app_factory``.
    """
    ours = app_factory(global_conf, **options)
    collections = settings.from_options(options, Settings).collections

    def filter(app: WSGIApplication) -> WSGIApplication:
        def filtered(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            is_ours = is_for_collections(Request(environ), collections)
            return (ours if is_ours else app)(environ, start_response)

        return filtered

    return filter


def upstream_factory(global_conf: dict[str, str], **options: str) -> WSGIApplication:
    """Create the application of a Paste section (``use = egg:dcproxy#upstream``).

    Raises ``SettingError``.
    """
    ours = settings.from_options(options, UpstreamSettings)
    return with_context(upstream.upstream_handler(ours))


def application(settings: Settings, runtime: Runtime = _RUNTIME) -> WSGIApplication:
    """Create the WSGI application that answers Deltacloud requests with EC2.

    Raises ``SettingError`` for a default provider that is not a region of EC2.
    """
    recorded = metrics.get_metrics()
    ec2 = EC2Client(settings, runtime, recorded.record_ec2_call)
    operations = _operations()
    providers = provider_names(ec2.hosts)

    def respond(request: ApiRequest, context: RequestContext, deadline: float) -> Response:
        if request.error is not None:
            raise request.error
        if request.allow:
            return options_response(request.allow)
        assert request.urls is not None  # noqa: S101 (a request without an error has them)
        operation = operations[request.handler]
        return operation(
            OperationContext(request, request.urls, ec2, settings, context, runtime, deadline)
        )

    def handle(
        environ: WSGIEnvironment, start_response: StartResponse, context: RequestContext
    ) -> Iterable[bytes]:
        started = runtime.monotonic()
        deadline = started + settings.deadline - _RESPONSE_SECONDS
        http = Request(environ)
        # Documents are created for each request: none has parts or a date to compare. WebOb raises
        # for dates out of range.
        http.range = http.if_modified_since = None
        request = read_request(http, providers, settings.trusted_hosts)
        context.provider = request.provider or ""
        context.operation = request.handler or "none"
        if request.credentials:
            context.access_key_id = request.credentials.user[-4:]
        try:
            response = respond(request, context, deadline)
        except Exception as error:
            response = error_response(request, api_error(error), context)
        add_common_headers(response, context)
        collection, _, operation = request.handler.partition(".")
        is_read = collection in COLLECTIONS and operation in {"index", "show"}
        if is_read and response.status_code == 200:
            response.headers["X-Backend-Runtime"] = f"{runtime.monotonic() - started:.6f}"
        return response(environ, start_response)

    endpoints = _operational_endpoints(settings)
    deltacloud = instrumented(handle, recorded, settings.provider)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return endpoints.get(environ.get("PATH_INFO", ""), deltacloud)(environ, start_response)

    proxies = settings.trusted_proxies
    if not proxies:
        return app
    return ProxyFix(
        app, x_for=proxies, x_proto=proxies, x_host=proxies, x_port=proxies, x_prefix=proxies
    )


def _operations() -> dict[str, Operation]:
    """Import the operations that the route table names."""
    handlers = {route.handler for route in ROUTES}
    return {handler: import_string(f"dcproxy.operations.{handler}") for handler in handlers}


def _operational_endpoints(settings: Settings) -> dict[str, WSGIApplication]:
    """Create what answers outside of Deltacloud: the root, the health check and the metrics."""
    endpoints: dict[str, WSGIApplication] = {"/": _root}
    if settings.health:
        endpoints[settings.health] = _health
    if settings.metrics:
        endpoints[settings.metrics] = metrics.exposition()
    return endpoints


def _root(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    location = quote(environ.get("SCRIPT_NAME", ""), encoding="latin-1") + ENTRY_POINT
    start_response("302 Found", [("Location", location), ("Content-Length", "0")])
    return []


def _health(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
