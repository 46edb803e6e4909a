"""gunicorn as the ``dcproxy`` command runs it: the master loads and checks what workers run."""

import gc
import logging
import os
import signal
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from wsgiref.types import WSGIApplication

import gunicorn.sock
import gunicorn.util
from gevent.monkey import get_original
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.pidfile import Pidfile
from gunicorn.workers.workertmp import WorkerTmp

from dcproxy.server import log_format
from dcproxy.server.worker import Worker, raise_descriptor_limit, settings_of
from dcproxy.settings import SettingError

CONNECTIONS = 10_000
"""Open connections per worker; see ``docs/performance.md``."""

_REQUEST_LINE_BYTES = 8190
"""gunicorn's highest limit. Name and description of a create can take 6,200 in a query."""


class Server(BaseApplication):  # type: ignore[misc]
    """What gunicorn runs: its settings, the application, and the certificate in ``tls``.

    ``load`` creates the application and ``settings`` returns the settings of gunicorn. Both are
    called again at each reload, and may raise ``SettingError``.
    """

    cfg: Config
    callable: WSGIApplication | None
    tls: ssl.SSLContext | None = None

    def __init__(
        self, load: Callable[[], WSGIApplication], settings: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._load = load
        self._settings = settings
        self._next: Server | None = None
        super().__init__()

    def do_load_config(self) -> None:
        """Read the settings. Raises ``SettingError`` where gunicorn would exit."""
        self.load_default_config()
        defaults = {
            "worker_class": Worker,
            "worker_connections": CONNECTIONS,
            "logger_class": _Log,
            "control_socket_disable": True,
            "limit_request_line": _REQUEST_LINE_BYTES,
            # Else gunicorn believes headers of clients on loopback and on Unix sockets.
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "post_worker_init": _unblock_stop_signals,
        }
        given = defaults | dict(self._settings()) | {"preload_app": True}
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
        if self.cfg.is_ssl:
            with _named_errors("certfile", self.cfg.certfile):
                self.tls = gunicorn.sock.ssl_context(self.cfg)

    def load(self) -> WSGIApplication:
        """Create the application, in the master. Raises ``SettingError``."""
        os.environ.update(self.cfg.env)
        return self._load()

    def candidate(self) -> "Server":
        """Read all files again, for ``reload`` to use. Raises ``SettingError``."""
        candidate = Server(self._load, self._settings)
        candidate.wsgi()
        self._next = candidate
        return candidate

    def reload(self) -> None:
        """Replace everything by the candidate."""
        assert self._next is not None  # noqa: S101
        self.cfg, self.callable, self.tls = self._next.cfg, self._next.callable, self._next.tls
        self._next = None

    def arbiter(self) -> "_Arbiter":
        """Create the process that manages the workers. Raises ``SettingError``."""
        self.wsgi()
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


_CHECKS: dict[str, Callable[[Config], object]] = {
    "bind": lambda cfg: cfg.address,
    "worker_class": lambda cfg: cfg.worker_class,
    "raw_env": lambda cfg: cfg.env,
    "threads": _check_threads,
    "http_protocols": Config.validate,
}


_STOP_SIGNALS = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}


class _Arbiter(Arbiter):  # type: ignore[misc]
    LISTENERS: list[Any]

    def setup(self, app: Server) -> None:
        """Take over settings and application, at the start and at a reload."""
        _set_up_log(app)
        super().setup(app)
        # Workers share the application with the master: garbage collection must not write to it.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def spawn_worker(self) -> int:
        """Fork a worker with stop signals blocked until it has its own handlers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            pid: int = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def reload(self) -> None:
        """Put the files into effect, or nothing of them: an error leaves everything as it was."""
        environ = dict(os.environ)
        try:
            original = self.cfg.env_orig
            for name in self.cfg.env:
                os.environ.pop(name, None)
            os.environ.update({name: original[name] for name in self.cfg.env if name in original})
            candidate = self.app.candidate()
            listeners = self._bind(candidate.cfg)
            try:
                self._rehearse(candidate)
            except Exception:
                _close(listeners, self.LISTENERS)
                raise
        except Exception as error:
            os.environ.clear()
            os.environ.update(environ)
            self.log.error("the configuration was not reloaded: %s", error)
            return
        before, self.LISTENERS = self.LISTENERS, listeners
        _close(before, listeners)
        self.cfg.set("bind", candidate.cfg.settings["bind"].get())  # nothing to bind for gunicorn
        super().reload()

    def _bind(self, cfg: Config) -> list[Any]:
        """Return the sockets of all addresses, those that are in use already included."""
        if self.systemd or cfg.address == self.cfg.address:
            return list(self.LISTENERS)
        present = dict(zip(self.cfg.address, self.LISTENERS, strict=False))
        listeners: list[Any] = []
        with _named_errors("bind", cfg.settings["bind"].get()):
            try:
                for address in cfg.address:
                    new = gunicorn.sock._sock_type(address)
                    listeners.append(present.get(address) or new(address, cfg, self.log))
            except Exception:
                _close(listeners, self.LISTENERS)
                raise
        if cfg.reuse_port:  # workers bind for themselves
            _close(listeners, [])
            return []
        return listeners

    def _rehearse(self, candidate: Server) -> None:
        """Try in a process of its own what cannot be undone. Raises ``SettingError``."""
        cfg = candidate.cfg
        read_end, write_end = os.pipe()
        pid = get_original("os", "fork")()
        if not pid:
            try:
                _set_up_log(candidate)
                self.log.setup(cfg)
                if cfg.pidfile and cfg.pidfile != self.cfg.pidfile:
                    Pidfile(cfg.pidfile).create(self.pid)
                gunicorn.util.set_owner_process(cfg.uid, cfg.gid, initgroups=cfg.initgroups)
                WorkerTmp(cfg)
            except BaseException as error:
                os.write(write_end, (str(error) or repr(error)).encode()[:4000])
            finally:
                os._exit(0)
        open(write_end, "wb").close()  # os.close is gevent's, which closes it later
        with open(read_end, errors="replace") as pipe:
            reason = " ".join(pipe.read().split())
        get_original("os", "waitpid")(pid, 0)
        if reason:
            raise SettingError(reason)


def _set_up_log(app: Server) -> None:
    log_format.configure(settings_of(app.wsgi()).log_format, app.cfg.logconfig)


def _close(listeners: list[Any], kept: list[Any]) -> None:
    gunicorn.sock.close_sockets([listener for listener in listeners if listener not in kept])


def _unblock_stop_signals(worker: Any) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


class _Log(Logger):  # type: ignore[misc]
    def setup(self, cfg: Any) -> None:
        """Write gunicorn's log lines in the format of the application's, where that has one.

        As those of the application, they do not wait for a pipe that nobody reads.
        """
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers[:]:
                if type(handler) is logging.StreamHandler:
                    ours = log_format.StreamHandler(handler.stream)
                    ours.setFormatter(handler.formatter)
                    ours._gunicorn = True  # type: ignore[attr-defined]
                    log.removeHandler(handler)
                    log.addHandler(ours)
        for handler in filter(log_format.is_ours, logging.getLogger("dcproxy").handlers):
            for gunicorns in self.error_log.handlers:
                gunicorns.setFormatter(handler.formatter)

    def reopen_files(self) -> None:
        """Reopen the log files, unless one of them cannot be opened."""
        try:
            for log in gunicorn.glogging.loggers():
                for handler in log.handlers:
                    if isinstance(handler, logging.FileHandler):
                        gunicorn.util.check_is_writable(handler.baseFilename)
        except RuntimeError as error:
            self.error("the log files were not reopened: %s", error)
        else:
            super().reopen_files()
