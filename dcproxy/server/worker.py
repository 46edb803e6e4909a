"""gunicorn's worker for dcproxy: it keeps time limits, and loses no request when it stops."""

import logging
import os
import re
import resource
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any
from wsgiref.types import WSGIApplication
from xml.sax.saxutils import escape

import gevent.select
import gevent.socket
import gunicorn.http.wsgi
import gunicorn.util
from gevent.server import StreamServer
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

from dcproxy.deltacloud.protocol import SERVER
from dcproxy.server.connection import Connection
from dcproxy.server.logs import configure, without_credentials, without_request
from dcproxy.server.metrics import get_metrics
from dcproxy.settings import Settings

log = logging.getLogger(__name__)

_STOP_INTERVAL_SECONDS = 0.1
_SECONDS_BETWEEN_WARNINGS = 10.0
_RESERVED_DESCRIPTORS = 512  # of connections to EC2, log files and metrics


def settings_of(app: WSGIApplication) -> Settings:
    """Return the options of dcproxy's application or filter; the defaults for any other."""
    found = getattr(app, "settings", None)
    return found if isinstance(found, Settings) else Settings()


class Worker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker, with time limits for connections and its own way to stop.

    A worker that stops serves the connections which have arrived and closes the port at once, so
    that a balancer sends new ones to another server. That of gunicorn resets those in the queue.
    """

    @staticmethod
    def setup() -> None:
        """Change what gunicorn keeps for the whole process; it calls this before it starts."""
        # gunicorn drops the header of an application and writes its own.
        gunicorn.http.wsgi.SERVER = SERVER
        gunicorn.util.write_error = _write_error
        logging.getLogger("gunicorn.error").addFilter(without_request)
        logging.getLogger("gunicorn.access").addFilter(without_credentials)

    def load_wsgi(self) -> None:
        """Take over the application of the master, or load it."""
        super().load_wsgi()
        self.settings = settings_of(self.wsgi)
        if not self.cfg.preload_app:
            configure(self.settings.log_format, self.cfg.logconfig)

    def run(self) -> None:
        """Serve until a signal ends the worker, and then the requests that have begun."""
        self._open: set[Connection] = set()
        # Under the command, that of the master: the files may have changed since it read them.
        self._tls = self.cfg.is_ssl and (getattr(self.app, "tls", None) or ssl_context(self.cfg))
        # Each has a pool, so that the address of the operational endpoints stays open.
        size = _most_connections(self.worker_connections)
        listeners = [StreamServer(s, partial(self.handle, s), spawn=size) for s in self.sockets]
        pools: list[Any] = [listener.pool for listener in listeners]
        for listener in listeners:
            if self.cfg.workers > 1:
                listener.max_accept = 1  # as the worker of gunicorn: the others get their share
            listener.start()
        next_warning = 0.0
        while self.alive:
            self.notify()
            if any(pool.full() for pool in pools):
                get_metrics().accept_pauses.inc()
                if time.monotonic() >= next_warning:
                    next_warning = time.monotonic() + _SECONDS_BETWEEN_WARNINGS
                    log.warning("no connections are accepted for now: %d are open", size)
            # A signal writes into this pipe.
            if gevent.select.select([self.PIPE[0]], [], [], 1.0)[0]:
                os.read(self.PIPE[0], 1)
        for listener in listeners:
            _close_after_queue(listener)
        end = time.monotonic() + self.cfg.graceful_timeout
        while any(pools) and time.monotonic() < end:
            self.notify()
            for connection in self._open:
                connection.close_if_idle()
            for pool in pools:
                pool.join(timeout=_STOP_INTERVAL_SECONDS)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection."""
        with suppress(OSError):  # it may be closed already
            if self._tls:
                wrap = partial(self._tls.wrap_socket, do_handshake_on_connect=False)
                client = wrap(client, server_side=True)
            connection = Connection(client, self.cfg.keepalive, self.settings)
            self._open.add(connection)
            try:
                # gunicorn asks the listener for its address, which a stopping worker has closed.
                super().handle(connection, connection, addr)
            finally:
                self._open.discard(connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Connection, addr: Any) -> None:
        """Serve one request."""
        sock.begin_response(req.version)
        try:
            super().handle_request(listener_name, req, sock, addr)
        except StopIteration:  # the connection is not kept
            sock.end_response()
            raise
        sock.await_next_request(req.body)

    def handle_error(self, req: Any, client: Connection, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be parsed, or whose application has failed."""
        super().handle_error(req, client, addr, exc)
        client.end_response()

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """Set no time limit: the connection has its own."""
        return nullcontext()


_STATUSES = {414: 400, 417: 400, 431: 400}
"""gunicorn's statuses that the Ruby client takes for success, and what to send instead."""


def _write_error(client: Connection, status: int, reason: str, message: str) -> None:
    """Write an error of gunicorn as a document of the API."""
    status = _STATUSES.get(status, status)
    # Behind a colon or a quotation mark is what the client sent: it may hold a secret.
    text = escape(re.split("[:'\"]", message)[0].strip() or reason)
    body = (
        f"<error status='{status}' url=''>\n<backend driver='ec2' provider='default'></backend>\n"
        f"<code>{status}</code>\n<message>{text}</message>\n</error>\n"
    ).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nServer: {SERVER}\r\nConnection: close\r\n"
        f"Content-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    client.sendall(head.encode() + body)


def _close_after_queue(listener: Any) -> None:
    """Accept the connections that are in the queue already, and close the port."""
    listener.stop_accepting()
    accepted = []
    with suppress(OSError):
        # Nothing comes between the last one and the close, which resets those that follow.
        while True:
            accepted.append(listener.socket._accept())
    listener.socket.close()
    for descriptor, address in accepted:
        listener.do_handle(gevent.socket.socket(fileno=descriptor), address)
    listener.close()


def _most_connections(wanted: int) -> int:
    """Raise the limit of open files; return for how many connections it is, at most ``wanted``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        log.info("the limit of open files was raised from %d to %d", soft, hard)
    return min(wanted, hard - min(_RESERVED_DESCRIPTORS, hard // 2))
