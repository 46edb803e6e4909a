"""Counts and logs each request of a WSGI application."""

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from werkzeug.wsgi import ClosingIterator

from dcproxy import metrics
from dcproxy.answers import path
from dcproxy.trace import Trace, trace_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger("dcproxy.requests")


def observed(app: "WSGIApplication", provider: str) -> "WSGIApplication":
    """Make an application that answers as ``app`` does, and is counted and logged.

    ``provider`` is that of a request that names none.
    """

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        started = time.perf_counter()
        trace = trace_of(environ)

        def counted(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            trace.status = int(status[:3])
            metrics.REQUESTS.labels(trace.operation, status[:3]).inc()
            metrics.DURATION.labels(trace.operation).observe(time.perf_counter() - started)
            return start_response(status, headers, *more)

        def ended() -> None:
            metrics.EC2_RETRIES.inc(trace.retries)
            duration = round(time.perf_counter() - started, 6)
            _log(
                trace,
                method=environ["REQUEST_METHOD"],
                path=path(environ),
                duration=duration,
                provider=trace.provider or provider,
            )

        return ClosingIterator(app(environ, counted), ended)

    return answer


def _log(trace: Trace, method: str, path: str, **fields: object) -> None:
    error = trace.error
    # A list that broke off has the status of its beginning.
    has_failed = error is not None and (error.status >= 500 or trace.status < 400)
    is_our_fault = error is not None and error.status == 500
    log.log(
        logging.ERROR if has_failed else logging.INFO,
        "%s %s %d",
        method,
        path,
        trace.status,
        exc_info=error.__cause__ if error and is_our_fault else None,
        extra={
            "request_id": trace.request_id,
            "method": method,
            "path": path,
            "status": trace.status,
            "operation": trace.operation,
            "access_key_id": trace.access_key_id or None,
            "ec2_request_ids": list(trace.ec2_request_ids) or None,
            "retries": trace.retries,
            "error_code": error.ec2_code or None if error else None,
            "error": error.message if error and has_failed else None,
            "traceparent": trace.traceparent or None,
            **fields,
        },
    )
