"""The log line and metrics of each request, and the health and metrics endpoints."""

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from webob import Request, Response
from werkzeug.wsgi import ClosingIterator

from dcproxy.request_log import FIELDS, RequestLog
from dcproxy.server.metrics import Metrics, exposition

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:=+/@-]{1,200}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

log = logging.getLogger("dcproxy.requests")

Handler = Callable[[WSGIEnvironment, StartResponse, RequestLog], Iterable[bytes]]
"""A WSGI application that is handed the log of the request."""


def instrumented(handler: Handler, metrics: Metrics, provider: str) -> WSGIApplication:
    """Count and log the requests of ``handler``. ``provider`` is that of those that name none."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        started = time.perf_counter()
        request_log = _new_log(environ)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            request_log.status = int(status[:3])
            # By dcproxy or by EC2.
            is_refused = request_log.status < 500 or request_log.is_refused
            result = "ok" if request_log.status < 400 else "refused" if is_refused else "failed"
            metrics.requests.labels(request_log.operation, status[:3], result).inc()
            metrics.duration.labels(request_log.operation).observe(time.perf_counter() - started)
            return start_response(status, headers, *more)

        def end() -> None:
            metrics.ec2_retries.inc(request_log.retries)
            metrics.logins_failed.inc(request_log.login_failed)
            metrics.lists_broken.inc(request_log.list_is_broken)
            metrics.creates_unsettled.inc(request_log.create_is_unsettled)
            request_log.provider = request_log.provider or request_log.default_provider or provider
            _log(request_log, round(time.perf_counter() - started, 6))

        return ClosingIterator(handler(environ, start, request_log), end)

    return app


def _new_log(environ: WSGIEnvironment) -> RequestLog:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return RequestLog(
        request_id=_well_formed(_REQUEST_ID, environ.get("HTTP_X_REQUEST_ID")) or str(uuid.uuid4()),
        method=environ["REQUEST_METHOD"],
        path=quote(path, safe="/;=", encoding="latin-1"),
        client=environ.get("REMOTE_ADDR", ""),
        scheme=environ["wsgi.url_scheme"],
        traceparent=_well_formed(_TRACEPARENT, environ.get("HTTP_TRACEPARENT")),
        connection=environ.get("gunicorn.socket"),
    )


def _well_formed(pattern: re.Pattern[str], text: str | None) -> str:
    return text if text is not None and pattern.fullmatch(text) else ""


def _log(request_log: RequestLog, duration: float) -> None:
    values = {name: getattr(request_log, name, None) for name in FIELDS}
    values |= {"ec2_request_ids": list(request_log.ec2_request_ids), "duration": duration}
    values["cause"] = request_log.error and request_log.cause
    fields = {name: None if value in ("", []) else value for name, value in values.items()}
    level = logging.ERROR if request_log.error else logging.INFO
    level = logging.WARNING if request_log.is_refused else level
    what = request_log.method, request_log.path, request_log.status
    log.log(level, "%s %s %d", *what, exc_info=request_log.fault, extra=fields)


_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
"""Of every response outside of Deltacloud: it is neither cached nor guessed."""


def text(status: str, line: str) -> WSGIApplication:
    """Create a WSGI application that answers with a line of text."""
    headers = [("Content-Type", "text/plain"), *_HEADERS]
    return Response(f"{line}\n".encode(), status, headers)


def operational_endpoints(health: str | None, metrics: str | None) -> dict[str, WSGIApplication]:
    """Create what answers outside of Deltacloud, by path; None leaves an endpoint out."""
    write_metrics = exposition()

    def write(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ.pop("HTTP_ACCEPT", None)  # some versions in it make prometheus_client fail
        response = Request(environ).get_response(write_metrics)
        response.headers.update(_HEADERS)
        return response(environ, start_response)

    endpoints = {health: text("200 OK", "ok"), metrics: write}
    return {path: endpoint for path, endpoint in endpoints.items() if path}
