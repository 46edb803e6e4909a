"""What Prometheus sees. No label holds a text of a client's.

With several workers, ``PROMETHEUS_MULTIPROC_DIR`` must name a folder before this is imported: the
figures are then sums of all workers (prometheus_client, "Multiprocess Mode").
"""

import os
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    make_wsgi_app,
    multiprocess,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

REQUESTS = Counter(
    "dcproxy_requests", "Deltacloud requests that were answered", ["operation", "status"]
)
DURATION = Histogram(
    "dcproxy_request_duration_seconds", "Time until the answer began", ["operation"]
)
EC2_REQUESTS = Counter(
    "dcproxy_ec2_requests", "Calls of EC2, retries not counted", ["action", "result"]
)
EC2_RETRIES = Counter("dcproxy_ec2_retries", "Calls of EC2 that were sent again")
LISTS_BROKEN = Counter("dcproxy_lists_broken", "Lists that failed after their first page")
_BUILD_INFO = Gauge(
    "dcproxy_build_info", "The version that runs", ["version"], multiprocess_mode="max"
)


def exposition() -> "WSGIApplication":
    """Make the WSGI application that writes the figures in Prometheus's text format."""
    _BUILD_INFO.labels(version("dcproxy")).set(1)
    registry = REGISTRY
    if os.environ.get(MULTIPROCESS_FOLDER):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return make_wsgi_app(registry)
