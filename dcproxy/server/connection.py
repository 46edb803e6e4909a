"""The socket of a client: its time limits, fair turns between clients, and its orderly end."""

import errno
import logging
import math
import select
import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import Any

import gevent
import gunicorn.util
from gevent.monkey import get_original

from dcproxy.server.metrics import get_metrics
from dcproxy.settings import Settings

log = logging.getLogger(__name__)

_PIECE_BYTES = 1 << 16
_UNSENT_BYTES = 1 << 17  # kept by the kernel for a client that takes nothing (TCP_NOTSENT_LOWAT)
_PIECES_A_TURN = 3  # of a usual request: it is received, head and body of its response are sent
_TURN_SECONDS = 1e-6  # not 0: gevent runs fifty sleeps of 0 before it looks at timers and sockets
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 1_000_000
_NEW_SECONDS = 1.0  # for the first request of a connection to arrive while the server stops
_PROBE_SECONDS = 0.5  # for the client's system to answer that the connection is closed


class Connection:
    """The socket of a client, with time limits.

    Everything but ``recv``, ``send`` and ``sendall`` is the socket's. ``keepalive`` is the number
    of seconds that it may be idle between two requests.

    A ``recv`` that finds data and a ``sendall`` that finds room do not let other greenlets run,
    nor does gevent compare the clock with its limits meanwhile. So both are done here.
    """

    def __init__(self, client: Any, keepalive: float, settings: Settings) -> None:
        self._client = client
        self._keepalive = keepalive
        self._settings = settings
        self._needs_handshake = isinstance(client, ssl.SSLSocket)
        self._is_idle, self._is_in_head, self._takes_interim_responses = True, False, False
        self._limit(settings.request_timeout)
        self._is_new_until = time.monotonic() + _NEW_SECONDS
        self._idle_greenlet: Any = None
        self._turn = self._pieces = 0
        if client.family != socket.AF_UNIX:
            # Less than a page: a list is read as fast as its client takes it, and not ahead.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def recv(self, size: int) -> bytes:
        """Receive a part of a request. Raises ``TimeoutError`` when the request takes too long."""
        self._give_way(after=1)
        limit = self._settings.request_timeout
        text = f"The request was not complete within {limit:g} seconds."
        # gunicorn closes a connection after an error with this number, and logs nothing.
        late = TimeoutError(errno.ECONNRESET, text)
        try:
            left = self._expires - time.monotonic()
            if left <= 0 or self._bytes_left <= 0:
                raise late
            with gevent.Timeout(left, late):
                data = self._receive(min(size, _PIECE_BYTES))
        except TimeoutError:
            if self._is_in_head:
                self._is_in_head = False
                gunicorn.util.write_error(self, 400, "Bad Request", text)
                self.end_response()
            raise
        self._bytes_left -= len(data)
        if self._is_idle:
            self._is_idle, self._is_in_head = False, True
            self._limit(limit)
        return data

    def _limit(self, seconds: float, bytes_left: float = math.inf) -> None:
        self._expires, self._bytes_left = time.monotonic() + seconds, bytes_left

    def _give_way(self, after: int) -> None:
        """Pause after so many pieces between which the event loop looked at no timer or socket."""
        turn = gevent.get_hub().loop.iteration
        self._pieces = self._pieces + 1 if turn == self._turn else 1
        self._turn = turn
        if self._pieces > after:
            gevent.sleep(_TURN_SECONDS)

    def _receive(self, size: int) -> bytes:
        if self._needs_handshake:
            self._client.do_handshake()
            self._needs_handshake = False
        self._idle_greenlet = gevent.getcurrent() if self._is_idle else None
        try:
            return bytes(self._client.recv(size))
        finally:
            self._idle_greenlet = None

    def sendall(self, data: bytes) -> None:
        """Send a part of a response. Resets the connection of a client that takes nothing."""
        idle_timeout = self._settings.idle_timeout
        try:
            for start in range(0, len(data), _PIECE_BYTES):
                self._give_way(after=_PIECES_A_TURN)
                with gevent.Timeout(idle_timeout, TimeoutError):
                    self._client.sendall(data[start : start + _PIECE_BYTES])
        except TimeoutError as error:
            get_metrics().clients_stalled.inc()
            text = "a client was disconnected: it took nothing of its response for %g seconds"
            log.warning(text, idle_timeout)
            reset_on_close = struct.pack("ii", 1, 0)  # socket(7)
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
            raise ConnectionResetError(errno.ECONNRESET, "the client took nothing") from error

    def send(self, data: bytes) -> int:
        """Send an interim response of gunicorn, as ``sendall``."""
        self.sendall(data)
        return len(data)

    def begin_response(self, http_version: tuple[int, int]) -> None:
        """Say that the head of a request is complete."""
        if self._is_idle:  # it came together with the request before it
            self._limit(self._settings.request_timeout)
        self._is_idle = self._is_in_head = False
        self._takes_interim_responses = http_version > (1, 0)

    def await_next_request(self, body: Any) -> None:
        """Say that the response is complete, and discard what is left of the body of its request.

        Raises ``StopIteration``, with which gunicorn closes the connection, if that is much.
        """
        self._limit(_LINGER_SECONDS, _LINGER_BYTES)
        try:
            while body.read(_PIECE_BYTES):
                pass
        except Exception:
            raise StopIteration from None
        self._is_idle = True
        self._limit(self._keepalive)

    def end_response(self) -> None:
        """Say that the last response is complete, and discard what the client still sends.

        To close a socket with unread data is to reset it: the client could lose the response.
        """
        with suppress(OSError):
            if isinstance(self._client, ssl.SSLSocket):
                self._client.settimeout(0)
                with suppress(ssl.SSLWantReadError):  # the client need not answer
                    self._client.unwrap()  # ends HTTP/1.0 lists, unless they were cut
                self._client.settimeout(None)
            self._client._sock.shutdown(socket.SHUT_WR)
            self._is_idle = False
            self._limit(_LINGER_SECONDS, _LINGER_BYTES)
            while self.recv(_PIECE_BYTES):
                pass

    def close_if_idle(self) -> None:
        """Close the connection between two requests; one that has arrived is still read."""
        if time.monotonic() > self._is_new_until:
            gevent.get_hub().loop.run_callback(self._interrupt_idle)

    def _interrupt_idle(self) -> None:
        # In the event loop, where a greenlet that waits stays so: no data comes in between.
        if self._idle_greenlet is not None and not self._events(select.POLLIN):
            self._idle_greenlet.throw(TimeoutError(errno.ECONNRESET, "the server stops"))

    def client_has_left(self) -> bool:
        """Tell a client that has closed its connection from one that only sends no more.

        Their packets are the same until the client's system answers to data. So it is sent an
        interim response, which HTTP/1.0 lacks: there, the client counts as waiting.
        """
        if not self._events(select.POLLRDHUP):
            return False
        # One that takes nothing of earlier responses would stop this.
        if self._takes_interim_responses and self._events(select.POLLOUT):
            with suppress(OSError):
                self._client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            end = time.monotonic() + _PROBE_SECONDS
            while not self._events(0) and time.monotonic() < end:
                gevent.sleep(0.01)
        return bool(self._events(0))

    def _events(self, wanted: int) -> int:
        """Return those of the events that have happened, or that the connection is closed."""
        poll = get_original("select", "poll")()  # that of gevent does not know POLLRDHUP
        poll.register(self._client, wanted)
        return sum(event for _, event in poll.poll(0))
