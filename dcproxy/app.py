"""The WSGI application, and the factories that Paste calls."""

import gc
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from webob import Request
from werkzeug.middleware.proxy_fix import ProxyFix

from dcproxy import deltacloud, errors, logs, metrics, settings
from dcproxy.answers import complete, error_document
from dcproxy.dispatch import respond
from dcproxy.ec2 import EC2
from dcproxy.observed import observed
from dcproxy.routes import asks_for_snapshots
from dcproxy.settings import Settings
from dcproxy.trace import trace_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def app_factory(global_conf: dict[str, str], **options: str) -> "WSGIApplication":
    """Make the application of a Paste section (``use = egg:dcproxy``).

    Raises ``SettingError`` for an option that is not known or not allowed.
    """
    _name_the_server()
    ours = settings.from_options(options, Settings)
    logs.configure(ours.log_format, global_conf.get("__file__"))
    app = application(ours)
    # botocore's models live as long as the worker: no garbage collection has to walk them again.
    gc.collect()
    gc.freeze()
    return app


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


def application(
    settings: Settings, pause: Callable[[float], None] = time.sleep
) -> "WSGIApplication":
    """Make the WSGI application that answers Deltacloud requests with EC2.

    ``pause`` waits for some seconds. Raises ``SettingError`` for a default provider that is no
    region of EC2.
    """
    ec2 = EC2(settings)
    beside = _beside(settings)

    def respond_or_fail(
        environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = respond(request, ec2, settings, pause)
        except Exception as error:
            failure = trace_of(environ).error = errors.from_any(error)
            response = error_document(request, failure)
        return complete(response, environ)(environ, start_response)

    watched = observed(respond_or_fail, settings.provider)

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        return beside.get(environ.get("PATH_INFO", ""), watched)(environ, start_response)

    proxies = settings.trusted_proxies
    if not proxies:
        return answer
    return ProxyFix(
        answer, x_for=proxies, x_proto=proxies, x_host=proxies, x_port=proxies, x_prefix=proxies
    )


def _beside(settings: Settings) -> "dict[str, WSGIApplication]":
    """Make what answers at the addresses for those who watch, none of them Deltacloud's."""
    applications: dict[str, WSGIApplication] = {}
    if settings.health:
        applications[settings.health] = _is_healthy
    if settings.metrics:
        applications[settings.metrics] = metrics.exposition()
    return applications


def _is_healthy(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\n"]
