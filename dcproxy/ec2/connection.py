"""Connections to EC2: they give way, tell what was sent, and are not kept when unused.

A greenlet whose reads never wait would stop all others and every ``gevent.Timeout``. So each read
of a response, or of a proxy's answer to CONNECT, gives way first.
"""

import io
import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPResponse
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.client import BaseClient

MAX_RESPONSE_BYTES = 32 * 1024 * 1024
"""Three times a page of 1,000 snapshots with 50 long tags each."""

_IDLE_SECONDS = 30.0

_TURN_SECONDS = 0.000001
"""Not 0: gevent runs fifty greenlets that sleep for 0 before it looks at timers and sockets."""


class ResponseTooLongError(Exception):
    """A response, or what stands in its place, exceeds ``MAX_RESPONSE_BYTES``."""


class Transmission:
    """One request: ``has_begun`` once its first byte may have left, that of CONNECT excepted."""

    has_begun = False


_current: ContextVar[Transmission | None] = ContextVar("transmission", default=None)


@contextmanager
def transmission() -> Iterator[Transmission]:
    """Observe the request that this context sends by a client of ``use_connections``."""
    observed = Transmission()
    token = _current.set(observed)
    try:
        yield observed
    finally:
        _current.reset(token)


def note_sending() -> None:
    """Note that the first byte of a request is about to be sent."""
    if observed := _current.get():
        observed.has_begun = True


def use_connections(client: BaseClient) -> None:
    """Let a client of botocore connect with the classes of this module."""
    # botocore has no public way to its connection pools.
    pools = client._endpoint.http_session._pool_classes_by_scheme  # type: ignore[attr-defined]
    pools.update(http=_HTTPPool, https=_HTTPSPool)


class _Reader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._bytes_left = MAX_RESPONSE_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._bytes_left < MAX_RESPONSE_BYTES:  # the first read waits by itself
            time.sleep(_TURN_SECONDS)
        count: int | None = self._raw.readinto(buffer)
        self._bytes_left -= count or 0
        if self._bytes_left < 0:
            raise ResponseTooLongError(f"more than {MAX_RESPONSE_BYTES >> 20} MB")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = io.BufferedReader(_Reader(self.fp.detach()))


class _Connection:
    response_class = _Response
    idle_since = 0.0

    def _send_output(self, *args: Any, **kwargs: Any) -> None:
        """Send the head of a request; that of CONNECT goes another way."""
        if self.sock is None:  # type: ignore[attr-defined]
            self.connect()  # type: ignore[attr-defined]
        note_sending()
        super()._send_output(*args, **kwargs)  # type: ignore[misc]


class _HTTPConnection(_Connection, AWSHTTPConnection):  # type: ignore[misc]
    pass


class _HTTPSConnection(_Connection, AWSHTTPSConnection):  # type: ignore[misc]
    pass


class _Idle:
    """The unused connections of a pool, in the place of its queue."""

    def __init__(self, maxsize: int) -> None:
        self._connections: list[Any] = []

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        """Give out the one used last, after those unused for too long were dropped."""
        oldest = time.monotonic() - _IDLE_SECONDS
        try:
            while self._connections[0].idle_since < oldest:
                self._connections.pop(0).close()
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = False) -> None:
        """Take a connection back; None stands for one that was closed."""
        if connection is not None:
            connection.idle_since = time.monotonic()
            self._connections.append(connection)


class _HTTPPool(AWSHTTPConnectionPool):
    ConnectionCls = _HTTPConnection
    QueueCls = _Idle  # type: ignore[assignment]


class _HTTPSPool(AWSHTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection
    QueueCls = _Idle  # type: ignore[assignment]
