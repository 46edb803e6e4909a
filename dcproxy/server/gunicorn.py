"""gunicorn as the ``dcproxy`` command runs it: one log format, safe reloads, graceful stops."""

import gc
import logging
import re
import select
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from wsgiref.types import WSGIApplication, WSGIEnvironment

import gunicorn.http.wsgi
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from dcproxy.server.logs import is_ours
from dcproxy.settings import SettingError

THREADS = 64
"""Threads per worker, as measured: see ``docs/performance.md``."""


def set_server_header(server: str) -> None:
    """Set the ``Server`` header: gunicorn drops that of an application and writes its own."""
    gunicorn.http.wsgi.SERVER = server


def client_socket(environ: WSGIEnvironment) -> socket.socket | None:
    """Return the socket of the client; None under another server."""
    connection: socket.socket | None = environ.get("gunicorn.socket")
    return connection


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
            "threads": THREADS,
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
            return _Arbiter(self)
        except Exception as error:
            raise SettingError(f"logging cannot be set up: {error!r}") from error


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


class Worker(ThreadWorker):  # type: ignore[misc]
    """Closes the port as soon as it stops.

    The worker of gunicorn keeps it open until its last request has ended, and resets the
    connections made meanwhile. A balancer sends a refused connection to another server.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or not; a stopping worker accepts those already in the queue."""
        super().set_accept_enabled(enabled)
        if not (enabled or self.alive):
            while self.sockets:
                listener = self.sockets.pop()
                while select.select([listener], [], [], 0)[0]:
                    self.accept(listener)
                listener.close()


class _Log(Logger):  # type: ignore[misc]
    def setup(self, cfg: Any) -> None:
        """Write gunicorn's log lines in the format of the application's, where that has one."""
        super().setup(cfg)
        for handler in filter(is_ours, logging.getLogger("dcproxy").handlers):
            for gunicorns in self.error_log.handlers:
                gunicorns.setFormatter(handler.formatter)
