"""Prometheus metrics. No label holds a text of a client.

With several workers, ``PROMETHEUS_MULTIPROC_DIR`` names a folder, and the metrics are sums of all
workers (prometheus_client, "Multiprocess Mode"). A new worker continues the files of one that has
ended, so that the sums never decrease and reloads do not add files.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.types import WSGIApplication

import prometheus_client.values
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

from dcproxy.settings import SettingError

MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_STATUSES = {"ok": "200 201 204", "refused": "400 401 404 502", "failed": "500 502"}
"""The common statuses of requests, by their results."""

_COUNTERS = {
    "requests": ("Answered Deltacloud requests", "operation", "status", "result"),
    "ec2_requests": ("Calls of EC2, without retries", "action", "result"),
    "ec2_retries": ("Repeated EC2 requests",),
    "lists_broken": ("Lists that failed after their first page",),
    "creates_unsettled": ("Creates of which EC2 may have made a duplicate",),
    "logins_failed": ("Requests with a wrong name or password of an account",),
    "account_credentials": ("Attempts to obtain the credentials of an account", "result"),
    "requests_over_capacity": ("Calls of EC2 refused because too many were in progress", "limit"),
    "clients_stalled": ("Clients that took nothing of their response",),
    "accept_pauses": ("Seconds in which a worker had no room for another connection",),
}
"""Meaning and labels of each counter."""


def counting(counter: Counter) -> Callable[..., None]:
    """Return a function that counts an event with the labels that it is given."""
    return lambda *labels: counter.labels(*labels).inc()


class Metrics(SimpleNamespace):
    """The metrics of this process, and after a fork those of the new one, by the names below."""

    def __init__(self) -> None:
        counters = {
            name: Counter(f"dcproxy_{name}", meaning, labels)
            for name, (meaning, *labels) in _COUNTERS.items()
        }
        duration = Histogram(
            "dcproxy_request_duration_seconds", "Time until the response began", ["operation"]
        )
        build_info = Gauge(
            "dcproxy_build_info", "Version of dcproxy", ["version"], multiprocess_mode="max"
        )
        super().__init__(**counters, duration=duration, build_info=build_info)

    def begin(self, operations: Iterable[str], actions: Iterable[str]) -> None:
        """Let the series exist at 0 whose first event an alert must see.

        ``operations`` and ``actions`` are all values of these labels. PromQL's ``increase`` is 0
        for a series that begins with its first event.
        """
        for operation, (result, statuses) in product(operations, _STATUSES.items()):
            for status in statuses.split():
                self.requests.labels(operation, status, result)
        for action, result in product(actions, ("ok", "refused", "throttled", "failed")):
            self.ec2_requests.labels(action, result)
        for result in ("ok", "failed"):
            self.account_credentials.labels(result)
        for limit in ("key", "worker"):
            self.requests_over_capacity.labels(limit)


@cache
def get_metrics() -> Metrics:
    """Create the metrics at first use, when ``PROMETHEUS_MULTIPROC_DIR`` is known."""
    # prometheus_client reads the variable when it is imported, before the command has set it.
    if os.environ.get(MULTIPROCESS_FOLDER):
        values: Any = prometheus_client.values
        values.ValueClass = values.MultiProcessValue(lambda: _files_of(os.getpid()))
    return Metrics()


@cache
def _files_of(pid: int) -> str:
    """Reserve files for ``pid``, this process; return what their names, and no others, have.

    Users do not share files: gunicorn's master may be root, and its workers not.
    """
    number = 0
    while True:
        name = f"{os.geteuid()}-{number}"
        path = Path(os.environ[MULTIPROCESS_FOLDER], f"{name}.lock")
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends
        except BlockingIOError:
            os.close(lock)
            number += 1
        else:
            return name


def exposition() -> WSGIApplication:
    """Create the WSGI application that writes the metrics in the text format of Prometheus."""
    get_metrics().build_info.labels(version("dcproxy")).set(1)
    if not os.environ.get(MULTIPROCESS_FOLDER):
        return make_wsgi_app()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return make_wsgi_app(registry)


@contextmanager
def shared_folder() -> Iterator[dict[str, Any]]:
    """Provide the folder in which workers share metrics: the operator's, or a temporary one.

    Yields the hooks of gunicorn for it. Raises ``SettingError`` when the folder is not writable.
    """
    if folder := os.environ.get(MULTIPROCESS_FOLDER):
        if not os.access(folder, os.W_OK):
            raise SettingError(f"{MULTIPROCESS_FOLDER} = {folder!r} is not a writable folder")
        yield {}
        return
    try:
        folder = tempfile.mkdtemp(prefix="dcproxy-metrics-")
    except OSError as error:
        raise SettingError(f"the metrics need a writable temporary folder: {error}") from error
    os.environ[MULTIPROCESS_FOLDER] = folder
    owner = os.getpid()
    try:
        yield {
            "on_starting": lambda arbiter: os.chown(folder, arbiter.cfg.uid, arbiter.cfg.gid),
            # A new master creates its own folder.
            "pre_exec": lambda arbiter: arbiter.cfg.env_orig.pop(MULTIPROCESS_FOLDER, None),
        }
    finally:
        if os.getpid() == owner:  # not in a forked worker that ends
            shutil.rmtree(folder, ignore_errors=True)
