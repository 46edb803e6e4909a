"""How many calls of EC2 a worker makes at once, and how many of them for one caller."""

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from dcproxy.ec2.errors import EC2Error, Outcome


class Slots:
    """The slots of a worker: ``number`` in all, ``share`` of them for one caller.

    ``record_refusal`` is told ``key`` or ``worker``, the limit for which a call was given up.
    """

    def __init__(self, number: int, share: int, record_refusal: Callable[[str], None]) -> None:
        self._free = threading.Semaphore(number)
        self._share = share
        self._record_refusal = record_refusal
        # Of callers with calls, waiting ones included.
        self._own: WeakValueDictionary[Hashable, threading.Semaphore] = WeakValueDictionary()
        self._lock = threading.Lock()

    @contextmanager
    def one(self, caller: Hashable, seconds: float) -> Iterator[None]:
        """Take a slot, after a wait of ``seconds`` at most. Raises ``EC2Error``: nothing was sent.

        The caller's own comes first: whoever waits for it leaves those of the worker to others.
        """
        end = time.monotonic() + seconds
        with self._lock:
            own = self._own.setdefault(caller, threading.Semaphore(self._share))
        with (
            self._taken(own, end, "key", "This access key has too many requests"),
            self._taken(self._free, end, "worker", "Too many requests are"),
        ):
            yield

    @contextmanager
    def _taken(
        self, free: threading.Semaphore, end: float, limit: str, what: str
    ) -> Iterator[None]:
        if not free.acquire(timeout=max(0.0, end - time.monotonic())):
            self._record_refusal(limit)
            message = f"{what} in progress. Repeat the request later."
            raise EC2Error(message, Outcome.NOT_SENT, limit=limit, cause=f"slots: {limit}")
        try:
            yield
        finally:
            free.release()
