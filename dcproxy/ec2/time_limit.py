"""Limits for connections to EC2: the time of a whole request, and how many are kept open.

The time-outs of botocore apply to single reads only. Inside ``time_limit``, the time-outs of a
limited client shrink to what is left. A thread shuts down the connection of a request that is still
in progress after its limit, such as one whose response arrives byte by byte.

The pools of urllib3 keep connections for each host. Here all pools of the process together keep at
most ``_MAX_IDLE`` of them, and none that was not used for ``_IDLE_SECONDS``.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.client import BaseClient
from urllib3 import Timeout

log = logging.getLogger(__name__)

_WATCH_INTERVAL = 0.25
_SHORTEST_TIMEOUT = 0.001
_MAX_IDLE = 256
_IDLE_SECONDS = 30.0


class TimeLimit:
    """The limit of one request; ``has_expired`` once its connection was shut down."""

    __slots__ = ("connection", "expires", "has_expired")

    def __init__(self, seconds: float) -> None:
        self.expires = time.monotonic() + seconds
        self.connection: _LimitedConnection | None = None
        self.has_expired = False

    def seconds_left(self) -> float:
        """Return what is left, and always something above 0, as time-outs must be."""
        return max(self.expires - time.monotonic(), _SHORTEST_TIMEOUT)


_current: ContextVar[TimeLimit | None] = ContextVar("time_limit", default=None)
_limits: set[TimeLimit] = set()
_idle: dict["_LimitedConnection", float] = {}
"""The connections in the pools, and since when."""
_lock = threading.Lock()
_watching_process = 0


@contextmanager
def time_limit(seconds: float) -> Iterator[TimeLimit]:
    """Limit the requests of limited clients that this context makes."""
    _watch()
    limit = TimeLimit(seconds)
    token = _current.set(limit)
    _limits.add(limit)
    try:
        yield limit
    finally:
        _limits.discard(limit)
        _current.reset(token)


def limit_client(client: BaseClient) -> None:
    """Let ``time_limit`` apply to the requests of a client."""
    # botocore has no public way to its connection pools.
    pools = client._endpoint.http_session._pool_classes_by_scheme  # type: ignore[attr-defined]
    pools.update(http=_HTTPPool, https=_HTTPSPool)


def _watch() -> None:
    """Start the thread that enforces the limits of this process, also after a fork."""
    global _watching_process
    if _watching_process != os.getpid():
        with _lock:
            if _watching_process != os.getpid():
                _watching_process = os.getpid()
                threading.Thread(target=_enforce_limits, daemon=True).start()


def _enforce_limits() -> None:
    while True:
        time.sleep(_WATCH_INTERVAL)
        now = time.monotonic()
        for limit in list(_limits):
            if limit.expires < now and not limit.has_expired:
                try:
                    _shut_down(limit)
                except Exception:
                    # Other requests depend on this thread.
                    log.exception("a connection could not be shut down")
        _close_idle(now - _IDLE_SECONDS)


def _close_idle(before: float) -> None:
    """Close the connections that were not used since ``before``; their pools open them again."""
    with _lock:
        closing = [connection for connection, since in _idle.items() if since < before]
        for connection in closing:
            del _idle[connection]
            # Under the lock: nobody takes it from its pool meanwhile.
            connection.close()


def _shut_down(limit: TimeLimit) -> None:
    with _lock:
        connection = limit.connection
        # The connection may serve another request by now.
        if connection is not None and connection.limit is limit:
            served = connection.served
            limit.has_expired = served is not None
            if served is not None:
                # It may be closed already. TLS inside TLS is no socket, but has one.
                with suppress(OSError):
                    served = getattr(served, "socket", served)
                    # Not the method of SSLSocket: it is not safe while another thread reads.
                    socket.socket.shutdown(served, socket.SHUT_RDWR)


class _LimitedConnection:
    """Notes which request it serves.

    ``served`` is its socket while it serves one: ``sock`` is None as soon as a response has begun
    after which the server closes the connection.
    """

    limit: TimeLimit | None = None
    served: socket.socket | None = None
    sock: socket.socket | None

    close: Callable[[], None]

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        with _lock:
            self.limit, self.served = _current.get(), self.sock
            if self.limit is not None:
                self.limit.connection = self
        return super().getresponse(*args, **kwargs)  # type: ignore[misc]


class _LimitedTimeout(Timeout):
    """Time-outs that shrink to the limit of the current request; urllib3 clones them for each."""

    def clone(self) -> Timeout:
        limit = _current.get()
        if limit is None:
            return super().clone()
        left = limit.seconds_left()
        connect, read = self.connect_timeout, self.read_timeout
        assert isinstance(connect, float | int)  # noqa: S101 (botocore sets both)
        assert isinstance(read, float | int)  # noqa: S101
        return Timeout(connect=min(connect, left), read=min(read, left))


class _LimitedPool:
    timeout: Timeout

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.timeout = _LimitedTimeout(
            connect=self.timeout.connect_timeout, read=self.timeout.read_timeout
        )

    def _get_conn(self, timeout: float | None = None) -> Any:
        """Give out a connection."""
        connection = super()._get_conn(timeout)  # type: ignore[misc]
        with _lock:
            _idle.pop(connection, None)
        return connection

    def _put_conn(self, conn: Any) -> None:
        """Take a connection back, once its response was read."""
        if conn is None:
            return
        with _lock:
            conn.limit = conn.served = None
            is_kept = len(_idle) < _MAX_IDLE
            if is_kept:
                _idle[conn] = time.monotonic()
        if is_kept:
            super()._put_conn(conn)  # type: ignore[misc]
        else:
            conn.close()


class _HTTPConnection(_LimitedConnection, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _HTTPSConnection(_LimitedConnection, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _HTTPPool(_LimitedPool, AWSHTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(_LimitedPool, AWSHTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection
