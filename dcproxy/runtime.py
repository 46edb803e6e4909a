"""The side effects of the package, except the network: clock, sleep and randomness."""

import time
from collections.abc import Callable
from random import Random, SystemRandom
from typing import NamedTuple

import gevent
from gevent import monkey


def _time_limit(seconds: float) -> gevent.Timeout:
    # Without an event loop it would never expire, but cost each thread a loop.
    return gevent.Timeout(seconds if monkey.is_module_patched("socket") else None)


class Runtime(NamedTuple):
    """The side effects of the package, except the network. Times are in seconds.

    ``monotonic`` measures intervals. ``time_limit`` makes a context that raises itself at its end,
    inside gevent's workers only.
    """

    # Not bound at import: gevent may replace it later.
    sleep: Callable[[float], None] = lambda seconds: time.sleep(seconds)
    monotonic: Callable[[], float] = time.monotonic
    unix_time: Callable[[], float] = time.time
    random: Random = SystemRandom()
    time_limit: Callable[[float], gevent.Timeout] = _time_limit
