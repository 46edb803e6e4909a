"""How many requests may call EC2 at once, and how many of them of one caller."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from dcproxy.auth.keys import Credentials
from dcproxy.deltacloud.errors import ApiError

MAX_WAIT = 1.0
"""Seconds that a request waits for each of the two limits."""


class Capacity:
    """The places of a worker for requests that call EC2.

    ``places`` requests may call EC2 at a time. At most ``places_per_key`` with the same credentials
    may be open, lists that their clients still read included. ``record_refusal`` is told ``key`` or
    ``worker``, the limit for which a request was refused.
    """

    def __init__(
        self, places: int, places_per_key: int, record_refusal: Callable[[str], None]
    ) -> None:
        self._places = threading.Semaphore(places)
        self._places_per_key = places_per_key
        self._record_refusal = record_refusal
        # Not by id alone: whoever knows it could fill the places of its owner with wrong secrets.
        self._keys: dict[Credentials, _Key] = {}
        self._keys_lock = threading.Lock()

    def occupy(self, credentials: Credentials, max_wait: float) -> "Place":
        """Occupy a place, which is to be closed.

        Where none is free, it waits for at most ``max_wait`` and ``MAX_WAIT`` seconds. Raises a 502
        ``ApiError`` when none becomes free.
        """
        wait = max(0.0, min(max_wait, MAX_WAIT))
        with ExitStack() as occupied:
            key = self._begin(credentials)
            occupied.callback(self._end, credentials, key)
            if not key.places.acquire(timeout=wait):
                raise self._refusal("key", "This access key has too many requests in progress.")
            occupied.callback(key.places.release)
            self._enter(wait)
            return Place(self._enter, self._places.release, occupied.pop_all().close)

    def _enter(self, max_wait: float) -> None:
        if not self._places.acquire(timeout=max(0.0, max_wait)):
            raise self._refusal("worker", "Too many requests are in progress.")

    def has_free_place(self) -> bool:
        """Tell whether a request could begin now."""
        is_free = self._places.acquire(blocking=False)
        if is_free:
            self._places.release()
        return is_free

    def _begin(self, credentials: Credentials) -> "_Key":
        with self._keys_lock:
            key = self._keys.setdefault(credentials, _Key(self._places_per_key))
            key.requests += 1
        return key

    def _end(self, credentials: Credentials, key: "_Key") -> None:
        with self._keys_lock:
            key.requests -= 1
            if not key.requests:
                del self._keys[credentials]

    def _refusal(self, limit: str, message: str) -> ApiError:
        self._record_refusal(limit)
        # A caller with too many requests is no failure of this server.
        return ApiError(502, f"{message} Repeat the request later.", is_refusal=limit == "key")


class _Key:
    """An access key with requests, waiting ones included."""

    def __init__(self, places: int) -> None:
        self.places = threading.Semaphore(places)
        self.requests = 0


class Place:
    """The place of a request, until it is closed.

    After a ``pause`` it counts for its key only, except ``at_work``: clients that read their lists
    slowly leave the worker to others.
    """

    def __init__(
        self, enter: Callable[[float], None], leave: Callable[[], None], free: Callable[[], None]
    ) -> None:
        self._enter = enter
        self._leave = leave
        self._free = free
        self._is_at_work = True

    def pause(self) -> None:
        """Leave the worker to others."""
        if self._is_at_work:
            self._is_at_work = False
            self._leave()

    @contextmanager
    def at_work(self, max_wait: float) -> Iterator[None]:
        """Count for the worker, after a wait of ``max_wait`` seconds at most.

        Raises a 502 ``ApiError`` when no place becomes free.
        """
        if self._is_at_work:
            yield
            return
        self._enter(max_wait)
        self._is_at_work = True
        try:
            yield
        finally:
            self.pause()

    # Not in a generator: the garbage collector would end one that was left behind, and wait for a
    # lock that this thread may hold.
    def close(self) -> None:
        """Free the place."""
        self.pause()
        self._free()
