"""The side effects of the package, except the network: clock, sleep, randomness, threads."""

import logging
import threading
import time
from collections.abc import Callable
from random import Random, SystemRandom
from typing import NamedTuple

import gevent
from gevent import monkey

log = logging.getLogger(__name__)

_MAX_JOBS = 100
_job_slots = threading.BoundedSemaphore(_MAX_JOBS)


def run_in_thread(job: Callable[[], None]) -> None:
    """Run ``job`` in a thread of its own, which ends with the process.

    It is dropped, with a warning, when too many run already.
    """

    def run() -> None:
        try:
            job()
        except Exception:
            log.exception("a background job failed")
        finally:
            _job_slots.release()

    if not _job_slots.acquire(blocking=False):
        log.warning("a background job was dropped: %d are running", _MAX_JOBS)
        return
    try:
        threading.Thread(target=run, daemon=True).start()
    except RuntimeError:
        _job_slots.release()
        log.warning("a background job was dropped: there is no thread for it")


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # not bound at import: gevent may replace it later


def _time_limit(seconds: float) -> gevent.Timeout:
    # Without an event loop it would never expire, but cost each thread a loop.
    return gevent.Timeout(seconds if monkey.is_module_patched("socket") else None)


class Runtime(NamedTuple):
    """The side effects of the package, except the network. Times are in seconds.

    ``monotonic`` measures intervals. ``time_limit`` makes a context that raises itself at its end,
    inside gevent's workers only. ``run_in_background`` runs a function that does not delay the
    response.
    """

    sleep: Callable[[float], None] = _sleep
    monotonic: Callable[[], float] = time.monotonic
    unix_time: Callable[[], float] = time.time
    random: Random = SystemRandom()
    time_limit: Callable[[float], gevent.Timeout] = _time_limit
    run_in_background: Callable[[Callable[[], None]], None] = run_in_thread
