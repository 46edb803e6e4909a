"""Middleware that creates the context of each request, counts the request and logs it."""

import logging
import re
import time
import uuid
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.wsgi import ClosingIterator

from dcproxy.context import Handler, RequestContext
from dcproxy.server.gunicorn import client_socket
from dcproxy.server.metrics import Metrics

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:=+/@-]{1,200}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

log = logging.getLogger("dcproxy.requests")


def with_context(handler: Handler) -> WSGIApplication:
    """Create a WSGI application that passes a new context to ``handler``."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return handler(environ, start_response, _new_context(environ))

    return app


def instrumented(handler: Handler, metrics: Metrics, provider: str) -> WSGIApplication:
    """Create a WSGI application that counts and logs the requests of ``handler``.

    ``provider`` is that of requests that name none.
    """

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = time.perf_counter()
        context = _new_context(environ)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            context.status = int(status[:3])
            metrics.requests.labels(context.operation, status[:3], _result(context)).inc()
            metrics.duration.labels(context.operation).observe(time.perf_counter() - started)
            return start_response(status, headers, *more)

        def end() -> None:
            metrics.ec2_retries.inc(context.retries)
            metrics.logins_failed.inc(context.login_failed)
            metrics.lists_broken.inc(context.list_is_broken)
            metrics.creates_unsettled.inc(context.create_is_unsettled)
            duration = round(time.perf_counter() - started, 6)
            _log(context, duration, context.provider or context.default_provider or provider)

        return ClosingIterator(handler(environ, start, context), end)

    return app


def _new_context(environ: WSGIEnvironment) -> RequestContext:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return RequestContext(
        request_id=_well_formed(_REQUEST_ID, environ.get("HTTP_X_REQUEST_ID")) or str(uuid.uuid4()),
        method=environ["REQUEST_METHOD"],
        path=quote(path, safe="/;=", encoding="latin-1"),
        traceparent=_well_formed(_TRACEPARENT, environ.get("HTTP_TRACEPARENT")),
        connection=client_socket(environ),
    )


def _well_formed(pattern: re.Pattern[str], text: str | None) -> str:
    return text if text is not None and pattern.fullmatch(text) else ""


def _result(context: RequestContext) -> str:
    """Tell a request that was refused, by dcproxy or by EC2, from one that failed."""
    if context.status < 400:
        return "ok"
    return "refused" if context.status < 500 or context.is_refused else "failed"


def _log(context: RequestContext, duration: float, provider: str) -> None:
    level = logging.ERROR if context.error else logging.INFO
    log.log(
        logging.WARNING if context.is_refused else level,
        "%s %s %d",
        context.method,
        context.path,
        context.status,
        exc_info=context.fault,
        extra={
            "request_id": context.request_id,
            "method": context.method,
            "path": context.path,
            "status": context.status,
            "duration": duration,
            "operation": context.operation,
            "provider": provider,
            "account": context.account or None,
            "access_key_id": context.access_key_id or None,
            "ec2_request_ids": list(context.ec2_request_ids) or None,
            "retries": context.retries,
            "error_code": context.error_code or None,
            "error": context.error or None,
            "traceparent": context.traceparent or None,
        },
    )
