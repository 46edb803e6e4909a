"""The connections of clients: their time limits, how many there are, and how they are accepted.

This is for gunicorn's gevent worker, in which each connection has a greenlet of its own.
"""

import errno
import logging
import resource
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import gevent
import gevent.socket
from gevent.pool import Pool
from gevent.server import StreamServer

from dcproxy.server.metrics import get_metrics

log = logging.getLogger(__name__)

_PIECE_BYTES = 1 << 16
_UNSENT_BYTES = 1 << 17
"""What the kernel keeps for a client that takes nothing (TCP_NOTSENT_LOWAT)."""

_PAUSE_SECONDS = 0.05
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 1_000_000
_SECONDS_BETWEEN_WARNINGS = 10.0
_RESERVED_DESCRIPTORS = 512
"""Those of connections to EC2, log files and metrics."""

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""A value of SO_LINGER (socket(7))."""


class TimeLimits(NamedTuple):
    """The options of the same names, in seconds."""

    request_timeout: float = 20.0
    idle_timeout: float = 60.0


_limits = TimeLimits()


def set_time_limits(limits: TimeLimits) -> None:
    """Set the time limits of all connections of this process."""
    global _limits
    _limits = limits


class Connection:
    """The socket of a client, with time limits.

    Everything but ``recv`` and ``sendall`` is the socket's. ``keepalive`` is the number of seconds
    that it may be idle between two requests.
    """

    def __init__(self, client: Any, keepalive: float, *, needs_handshake: bool = False) -> None:
        self._client = client
        self._keepalive = keepalive
        self._needs_handshake = needs_handshake
        self._request_timeout, self._idle_timeout = _limits
        self._expires: float | None = time.monotonic() + self._request_timeout
        self._late = f"The request was not complete within {self._request_timeout:g} seconds."
        if client.family != socket.AF_UNIX:
            # Less than a page: a list is read as fast as its client takes it, and not ahead.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def recv(self, size: int) -> bytes:
        """Receive a part of a request. Raises ``TimeoutError`` when the request takes too long."""
        started = time.monotonic()
        left = self._keepalive if self._expires is None else self._expires - started
        # gunicorn closes a connection after an error with this number, and logs nothing.
        late = TimeoutError(errno.ECONNRESET, self._late)
        with gevent.Timeout(max(left, 0), late):
            if self._needs_handshake:
                self._client.do_handshake()
                self._needs_handshake = False
            data: bytes = self._client.recv(size)
        if self._expires is None:
            self._expires = time.monotonic() + self._request_timeout
        return data

    def sendall(self, data: bytes) -> None:
        """Send a part of a response. Resets the connection of a client that takes nothing."""
        try:
            for start in range(0, len(data), _PIECE_BYTES):
                with gevent.Timeout(self._idle_timeout, TimeoutError):
                    self._client.sendall(data[start : start + _PIECE_BYTES])
        except TimeoutError as error:
            get_metrics().clients_stalled.inc()
            log.warning(
                "a client was disconnected: it took nothing of its response for %g seconds",
                self._idle_timeout,
            )
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            raise ConnectionResetError(errno.ECONNRESET, "the client took nothing") from error

    def await_next_request(self) -> None:
        """Begin the time between two requests."""
        self._expires = None

    def end_response(self) -> None:
        """Say that the response is complete, and discard what the client still sends.

        To close a socket with unread data is to reset it: the client could lose the response.
        """
        with suppress(OSError), gevent.Timeout(_LINGER_SECONDS, TimeoutError):
            self._client._sock.shutdown(socket.SHUT_WR)
            left = _LINGER_BYTES
            while left > 0 and (data := self._client.recv(min(left, _PIECE_BYTES))):
                left -= len(data)

    def close_if_idle(self) -> None:
        """Close the connection between two requests; one that has arrived is still read."""
        if self._expires is None:
            with suppress(OSError):  # the client may have closed it
                # Not gevent's method: that would interrupt a read which has data.
                self._client._sock.shutdown(socket.SHUT_RD)


class Connections(Pool):
    """The greenlets of the connections to an address, no more than there are descriptors for."""

    def __init__(self, wanted: int) -> None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        reserved = min(_RESERVED_DESCRIPTORS, descriptors // 2)
        super().__init__(min(wanted, descriptors - reserved))

    def full(self) -> bool:
        """Tell whether no more connections may be accepted."""
        is_full: bool = super().full()
        if is_full:
            _note_pause(f"{self.size} are open")
        return is_full


class Listener(StreamServer):
    """Accepts connections, and pauses when the process runs out of descriptors."""

    def do_read(self) -> Any:
        """Accept a connection; None when there is none."""
        try:
            return super().do_read()
        except OSError as error:
            _note_pause(error.strerror or repr(error))
            self.stop_accepting()
            gevent.spawn_later(_PAUSE_SECONDS, self._resume)
            return None

    def _resume(self) -> None:
        if self.started:
            self.start_accepting()

    def close_after_queue(self) -> None:
        """Accept the connections that are in the queue already, and close the port."""
        self.stop_accepting()
        accepted = []
        with suppress(OSError):
            # Nothing comes between the last one and the close, which resets those that follow.
            while True:
                accepted.append(self.socket._accept())  # type: ignore[attr-defined]
        self.socket.close()
        for descriptor, address in accepted:
            self.do_handle(gevent.socket.socket(fileno=descriptor), address)
        self.close()


_next_warning = 0.0


def _note_pause(reason: str) -> None:
    def note() -> None:
        global _next_warning
        get_metrics().accept_pauses.inc()
        if time.monotonic() >= _next_warning:
            _next_warning = time.monotonic() + _SECONDS_BETWEEN_WARNINGS
            log.warning("no connections are accepted for now: %s", reason)

    # The caller is in the event loop, which must not wait for a lock of the log.
    gevent.spawn(note)


def raise_descriptor_limit(report: Callable[..., object]) -> None:
    """Raise the limit of open files to the highest that is allowed; ``report`` logs it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        report("the limit of open files was raised from %d to %d", soft, hard)
