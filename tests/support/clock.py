"""A virtual clock that several threads share."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LIMIT_SECONDS = 60


class SharedClock:
    """A clock that goes on when all of its ``threads`` sleep, to the first one that wakes."""

    def __init__(self, threads: int) -> None:
        self._now = 1000.0
        self._awake = threads
        self._wakes: dict[int, float] = {}
        self._changed = threading.Condition()

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        with self._changed:
            me = threading.get_ident()
            self._wakes[me] = self._now + seconds
            self._awake -= 1
            self._go_on()
            while me in self._wakes:
                if not self._changed.wait(_LIMIT_SECONDS):
                    raise TimeoutError(f"{self._awake} other threads do not sleep")

    @contextmanager
    def thread(self) -> Iterator[None]:
        """Count the running thread as one of those of the clock, until the block ends."""
        try:
            yield
        finally:
            with self._changed:
                self._awake -= 1
                self._go_on()

    def _go_on(self) -> None:
        if self._awake > 0 or not self._wakes:
            return
        self._now = min(self._wakes.values())
        for thread in [thread for thread, wake in self._wakes.items() if wake <= self._now]:
            del self._wakes[thread]
            self._awake += 1
        self._changed.notify_all()
