"""gunicorn as the ``dcproxy`` command runs it: one log format, safe reloads, graceful stops."""

import gc
import logging
import os
import re
import signal
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any
from wsgiref.types import WSGIApplication

import gevent.select
import gunicorn.http.wsgi
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker

from dcproxy.server.connections import Connection, Connections, Listener, raise_descriptor_limit
from dcproxy.server.log_format import is_ours
from dcproxy.settings import SettingError

CONNECTIONS = 10_000
"""Open connections per worker; see ``docs/performance.md``."""

_STOP_INTERVAL_SECONDS = 0.1


def set_server_header(server: str) -> None:
    """Set the ``Server`` header: gunicorn drops that of an application and writes its own."""
    gunicorn.http.wsgi.SERVER = server


# gunicorn quotes what it cannot parse of a request: it may hold a secret or a query.
_QUOTED_REQUEST = re.compile(r"(Invalid request from ip=\S+ [^:'\"]*).*", re.DOTALL)


def hide_requests_in_logs() -> None:
    """Keep what may be secret out of the logs of gunicorn.

    That is the text of malformed requests, queries in its errors, and in its access log key ids and
    the header ``Authorization``.
    """
    logging.getLogger("gunicorn.error").addFilter(_without_request)
    logging.getLogger("gunicorn.access").addFilter(_without_credentials)


def _without_request(record: logging.LogRecord) -> bool:
    record.msg = _QUOTED_REQUEST.sub(r"\1", str(record.msg))
    if record.msg.startswith("Error handling request") and isinstance(record.args, tuple):
        record.args = tuple(str(arg).partition("?")[0] for arg in record.args)
    return True


def _without_credentials(record: logging.LogRecord) -> bool:
    # The values for the format of the operator (gunicorn.glogging.Logger.atoms).
    if isinstance(record.args, dict):
        user = record.args.get("u", "-")
        hidden = {"{authorization}i": "-", "{http_authorization}e": "-"}
        record.args |= {"u": str(user)[-4:], **hidden}
    return True


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn without its command line.

    ``load`` creates the application and ``settings`` returns the settings of gunicorn. Both are
    called again at each reload, and may raise ``SettingError``.
    """

    def __init__(
        self, load: Callable[[], WSGIApplication], settings: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._load = load
        self._settings = settings
        super().__init__()

    def do_load_config(self) -> None:
        """Read the settings. Raises ``SettingError`` where gunicorn would exit."""
        self.load_default_config()
        defaults = {
            "worker_class": Worker,
            "worker_connections": CONNECTIONS,
            "logger_class": _Log,
            "control_socket_disable": True,
            # Else gunicorn believes headers of clients on loopback and on Unix sockets.
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "post_worker_init": _unblock_stop_signals,
        }
        given = defaults | dict(self._settings())
        for name, value in given.items():
            if name in _COMMAND_LINE_ONLY:
                raise SettingError(
                    f"option {name} has no effect here: gunicorn's command line only"
                )
            with _named_errors(name, value):
                self.cfg.set(name, value)
        # gunicorn would find these errors after the start only.
        for name, check in _CHECKS.items():
            with _named_errors(name, given.get(name)):
                check(self.cfg)

    def load(self) -> WSGIApplication:
        """Create the application, in a worker."""
        return self._load()

    def check(self) -> None:
        """Raise ``SettingError`` when this cannot start."""
        try:
            Server(self._load, self._settings).load()
        finally:
            # This process does not need the application: each worker creates its own.
            gc.unfreeze()
            gc.collect()

    def arbiter(self) -> "_Arbiter":
        """Create the process that manages the workers. Raises ``SettingError``."""
        self.check()
        try:
            arbiter = _Arbiter(self)
        except Exception as error:
            raise SettingError(f"logging cannot be set up: {error!r}") from error
        raise_descriptor_limit(arbiter.log.info)
        return arbiter


_COMMAND_LINE_ONLY = {"chdir", "config", "daemon", "pythonpath"}


@contextmanager
def _named_errors(name: str, value: object) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        why = (str(error).strip() or repr(error)).splitlines()[0]
        raise SettingError(f"option {name} = {value!r} is not allowed: {why}") from error


def _check_threads(cfg: Config) -> None:
    if cfg.threads < 1:
        raise ValueError("it takes a whole number above 0")


def _check_certificate(cfg: Config) -> None:
    if cfg.is_ssl:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cfg.certfile, cfg.keyfile)


_CHECKS: dict[str, Callable[[Config], object]] = {
    "bind": lambda cfg: cfg.address,
    "worker_class": lambda cfg: cfg.worker_class,
    "raw_env": lambda cfg: cfg.env,
    "threads": _check_threads,
    "certfile": _check_certificate,
    "http_protocols": Config.validate,
}


_STOP_SIGNALS = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}


class _Arbiter(Arbiter):  # type: ignore[misc]
    def spawn_worker(self) -> int:
        """Fork a worker with stop signals blocked until it has its own handlers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            pid: int = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def reload(self) -> None:
        """Reload a correct configuration; a wrong one would stop gunicorn."""
        try:
            self.app.check()
        except Exception as error:
            self.log.error("the configuration was not reloaded: %s", error)
        else:
            super().reload()


def _unblock_stop_signals(worker: Any) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


class Worker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker, with time limits for connections and its own way to stop.

    A worker that stops serves the connections which have arrived and closes the port at once, so
    that a balancer sends new ones to another server. That of gunicorn resets those in the queue.
    """

    def run(self) -> None:
        """Serve until a signal ends the worker, and then the requests that have begun."""
        raise_descriptor_limit(self.log.info)
        self._open: set[Connection] = set()
        self._tls = ssl_context(self.cfg) if self.cfg.is_ssl else None
        # Each has its own, so that the address of the operational endpoints stays open.
        pools = [Connections(self.worker_connections) for _ in self.sockets]
        listeners = [
            Listener(own, partial(self.handle, own), spawn=pool)
            for own, pool in zip(self.sockets, pools, strict=True)
        ]
        for listener in listeners:
            if self.cfg.workers > 1:
                listener.max_accept = 1  # as the worker of gunicorn: the others get their share
            listener.start()
        while self.alive:
            self.notify()
            # A signal writes into this pipe.
            if gevent.select.select([self.PIPE[0]], [], [], 1.0)[0]:
                os.read(self.PIPE[0], 1)
        for listener in listeners:
            listener.close_after_queue()
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
            if self._tls is not None:
                client = self._tls.wrap_socket(
                    client, server_side=True, do_handshake_on_connect=False
                )
            connection = Connection(
                client, self.cfg.keepalive, needs_handshake=self._tls is not None
            )
            self._open.add(connection)
            try:
                # gunicorn asks the listener for its address, which a stopping worker has closed.
                super().handle(connection, connection, addr)
            finally:
                self._open.discard(connection)

    def handle_request(self, listener_name: Any, req: Any, sock: Connection, addr: Any) -> None:
        """Serve one request."""
        try:
            super().handle_request(listener_name, req, sock, addr)
        except StopIteration:  # the connection is not kept
            sock.end_response()
            raise
        sock.await_next_request()

    def handle_error(self, req: Any, client: Connection, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be parsed, or whose application has failed."""
        super().handle_error(req, client, addr, exc)
        client.end_response()

    def timeout_ctx(self) -> AbstractContextManager[None]:
        """Set no time limit: the connection has its own."""
        return nullcontext()


class _Log(Logger):  # type: ignore[misc]
    def setup(self, cfg: Any) -> None:
        """Write gunicorn's log lines in the format of the application's, where that has one."""
        super().setup(cfg)
        for handler in filter(is_ours, logging.getLogger("dcproxy").handlers):
            for gunicorns in self.error_log.handlers:
                gunicorns.setFormatter(handler.formatter)
