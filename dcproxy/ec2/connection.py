"""Connections to EC2: they give way, tell what was sent, and are closed when unused.

A greenlet whose reads never wait would stop all others and every ``gevent.Timeout``. So the
reads of a response, or of a proxy's answer to CONNECT, give way each millisecond.
"""

import io
import queue
import time
from collections import deque
from http.client import HTTPResponse
from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.client import BaseClient

from dcproxy.ec2.session import note_first_byte

MAX_RESPONSE_BYTES = 32 * 1024 * 1024
"""Three times a page of 1,000 snapshots with 50 long tags each."""

_IDLE_SECONDS = 30.0
_LONGEST_TURN_SECONDS = 0.001
_PAUSE_SECONDS = 1e-6  # not 0: gevent runs fifty sleeps of 0 before it looks at timers and sockets


class ResponseTooLongError(Exception):
    """A response, or what stands in its place, exceeds ``MAX_RESPONSE_BYTES``."""


def use_connections(client: BaseClient) -> None:
    """Let a client of botocore connect with the classes of this module."""
    # botocore has no public way to its connection pools.
    client._endpoint.http_session._pool_classes_by_scheme |= _POOLS  # type: ignore[attr-defined]


class _Reader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._bytes_left = MAX_RESPONSE_BYTES
        self._turn_at = time.monotonic()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if time.monotonic() - self._turn_at > _LONGEST_TURN_SECONDS:
            time.sleep(_PAUSE_SECONDS)
            self._turn_at = time.monotonic()
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
    sent_at = 0.0

    def _send_output(self, *args: Any, **kwargs: Any) -> None:
        """Send the head of a request; that of CONNECT goes another way."""
        if self.sock is None:  # type: ignore[attr-defined]
            self.connect()  # type: ignore[attr-defined]
        self.sent_at = time.monotonic()
        note_first_byte()
        super()._send_output(*args, **kwargs)  # type: ignore[misc]


class _Unused(deque[Any]):
    """The unused connections of a pool, in the place of its queue, which has no limit of age."""

    def __init__(self, maxsize: int) -> None:
        super().__init__()

    def get(self, block: bool, timeout: float | None = None) -> Any:
        while self and self[0].sent_at < time.monotonic() - _IDLE_SECONDS:
            self.popleft().close()
        if not self:
            raise queue.Empty
        return self.pop()

    def put(self, connection: Any, block: bool = False) -> None:
        if connection is not None:  # urllib3 puts None for one that was closed
            self.append(connection)


def _pool(pool: type, connection: type) -> type:
    ours = type(connection.__name__, (_Connection, connection), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": ours, "QueueCls": _Unused})


_POOLS = {
    "http": _pool(AWSHTTPConnectionPool, AWSHTTPConnection),
    "https": _pool(AWSHTTPSConnectionPool, AWSHTTPSConnection),
}
