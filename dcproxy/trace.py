"""What is known of a request while it is served, for its answer, its errors and its log line."""

import re
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dcproxy.errors import DeltacloudError
from dcproxy.routes import Urls

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_ENVIRON_KEY = "dcproxy.trace"
_MAX_EC2_REQUEST_IDS = 20

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:=+/@-]{1,200}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Trace:
    """One request, as far as it is understood; empty is what is not known of it.

    ``request_id`` is the client's ``X-Request-Id`` where that is well-formed. ``traceparent`` is
    that of W3C Trace Context. ``provider`` is the one that the request named. ``status`` is that
    of the answer, 0 before it. ``access_key_id`` is its last four characters. ``ec2_request_ids``
    are those of EC2's last answers, ``retries`` is how often EC2 was asked again. ``error`` is
    what the request failed with.
    """

    request_id: str
    traceparent: str
    provider: str = ""
    operation: str = "none"
    id: str = ""
    status: int = 0
    urls: Urls | None = None
    access_key_id: str = ""
    ec2_request_ids: deque[str] = field(default_factory=lambda: deque(maxlen=_MAX_EC2_REQUEST_IDS))
    retries: int = 0
    error: DeltacloudError | None = None


def trace_of(environ: "WSGIEnvironment") -> Trace:
    """Give the trace of a request, which begins with its first use."""
    trace: Trace | None = environ.get(_ENVIRON_KEY)
    if trace is None:
        request_id = _well_formed(_REQUEST_ID, environ.get("HTTP_X_REQUEST_ID"))
        traceparent = _well_formed(_TRACEPARENT, environ.get("HTTP_TRACEPARENT"))
        trace = environ[_ENVIRON_KEY] = Trace(request_id or str(uuid.uuid4()), traceparent)
    return trace


def _well_formed(pattern: re.Pattern[str], text: str | None) -> str:
    return text if text is not None and pattern.fullmatch(text) else ""
