"""gunicorn as the ``dcproxy`` command runs it: the master loads and checks what workers run."""

import gc
import os
import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from signal import pthread_sigmask
from tempfile import TemporaryFile
from typing import Any
from wsgiref.types import WSGIApplication

import gunicorn.sock
import gunicorn.util
from gevent.monkey import get_original
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.pidfile import Pidfile
from gunicorn.workers.workertmp import WorkerTmp

from dcproxy.server.logs import GunicornLog, configure
from dcproxy.server.transport import port_or_path
from dcproxy.server.worker import Worker, settings_of
from dcproxy.settings import SettingError, setting_error


class Server(BaseApplication):  # type: ignore[misc]
    """What gunicorn runs: its settings, the application, and the certificate in ``tls``.

    ``load`` creates the application and ``settings`` returns those of gunicorn; a reload calls both
    again. They may raise ``SettingError``. ``admin_bind`` wins over the application's option.
    """

    tls: ssl.SSLContext | None = None

    def __init__(
        self,
        load: Callable[[], WSGIApplication],
        settings: Callable[[], dict[str, Any]],
        admin_bind: str | None,
    ) -> None:
        self.sources = load, settings, admin_bind
        self._load, self._settings, self._admin_bind = self.sources
        super().__init__()

    def do_load_config(self) -> None:
        """Read the settings. Raises ``SettingError`` where gunicorn would exit."""
        self.load_default_config()
        defaults = {
            "worker_class": Worker,
            "worker_connections": 10_000,  # see docs/performance.md
            "logger_class": GunicornLog,
            "control_socket_disable": True,
            # gunicorn's highest. Name and description of a create can take 6,200 in a query.
            "limit_request_line": 8190,
            # Else gunicorn believes headers of clients on loopback and on Unix sockets.
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "post_worker_init": lambda worker: pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS),
        }
        given = defaults | self._settings() | {"preload_app": True}
        for name, value in given.items():
            if name in {"chdir", "config", "daemon", "pythonpath"}:
                why = "has no effect here: gunicorn's command line only"
                raise SettingError(f"option {name} {why}")
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
        """Create the application, and listen at its ``admin_bind`` too. Raises ``SettingError``."""
        os.environ.update(self.cfg.env)
        app, bind = self._load(), self.cfg.settings["bind"].get()
        if address := self._admin_bind or settings_of(app).admin_bind:
            if port_or_path(address) in map(port_or_path, bind):
                raise setting_error("admin_bind", address, "a port or path that bind does not have")
            self.cfg.set("bind", [*bind, address])
        return app

    def reload(self) -> None:
        """Read nothing: the arbiter has taken over a candidate, which has read the files."""

    def arbiter(self) -> "_Arbiter":
        """Create the process that manages the workers. Raises ``SettingError``."""
        self.wsgi()
        try:
            return _Arbiter(self)
        except Exception as error:
            raise SettingError(f"logging cannot be set up: {error!r}") from error


@contextmanager
def _named_errors(name: str, value: object) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if name == "raw_env":  # its values may be secrets
            raise SettingError("option raw_env is not allowed: it takes NAME=VALUE") from None
        why = (str(error).strip() or repr(error)).splitlines()[0]
        raise SettingError(f"option {name} = {value!r} is not allowed: {why}") from error


def _check_number(name: str, cfg: Config) -> None:
    if cfg.settings[name].get() < 1:
        raise ValueError("it takes a whole number above 0")


_CHECKS: dict[str, Callable[[Config], object]] = {
    "bind": lambda cfg: cfg.address,
    "worker_class": lambda cfg: cfg.worker_class,
    "raw_env": lambda cfg: cfg.env,
    **{name: partial(_check_number, name) for name in ("threads", "worker_connections", "workers")},
    "http_protocols": Config.validate,
}


_STOP_SIGNALS = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}

_RELOAD_SECONDS = 10
"""Within which files are read and tried: meanwhile, the master replaces no worker."""


class _Arbiter(Arbiter):  # type: ignore[misc]
    LISTENERS: list[Any]

    def setup(self, app: Server) -> None:
        """Take over settings and application, at the start and at a reload."""
        configure(settings_of(app.wsgi()).log_format, app.cfg.logconfig)
        super().setup(app)
        # Workers share the application with the master: garbage collection must not write to it.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def spawn_worker(self) -> int:
        """Fork a worker with stop signals blocked until it has its own handlers."""
        before = pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            return int(super().spawn_worker())
        finally:
            pthread_sigmask(signal.SIG_SETMASK, before)

    def reload(self) -> None:
        """Put the files into effect, or nothing of them: an error leaves everything as it was."""
        environ, listeners = dict(os.environ), list[Any]()
        try:
            original = self.cfg.env_orig
            for name in self.cfg.env:
                os.environ.pop(name, None)
            os.environ.update({name: original[name] for name in self.cfg.env if name in original})
            with _time_limit():
                candidate = Server(*self.app.sources)
                candidate.wsgi()
                self._bind(candidate.cfg, listeners)
                self._rehearse(candidate)
        except Exception as error:
            _close(listeners, self.LISTENERS)
            os.environ.clear()
            os.environ.update(environ)
            self.log.error("the configuration was not reloaded: %s", error)
            return
        before, self.LISTENERS = self.LISTENERS, listeners
        _close(before, listeners)
        self.app.__dict__.update(candidate.__dict__)
        self.cfg.set("bind", candidate.cfg.settings["bind"].get())  # nothing to bind for gunicorn
        super().reload()

    def _bind(self, cfg: Config, listeners: list[Any]) -> None:
        """Add the sockets of all addresses, those that are in use already included."""
        is_same_kind = cfg.reuse_port == self.cfg.reuse_port  # else its address is in use
        if self.systemd or (is_same_kind and cfg.address == self.cfg.address):
            listeners += self.LISTENERS
            return
        present = dict(zip(self.cfg.address, self.LISTENERS, strict=False)) if is_same_kind else {}
        with _named_errors("bind", cfg.settings["bind"].get()):
            for address in cfg.address:
                new = gunicorn.sock._sock_type(address)
                listeners.append(present.pop(address, None) or new(address, cfg, self.log))
        if cfg.reuse_port:  # workers bind for themselves
            _close(listeners, self.LISTENERS)
            listeners.clear()

    def _rehearse(self, candidate: Server) -> None:
        """Try in a process of its own what cannot be undone. Raises ``SettingError``."""
        cfg = candidate.cfg
        with TemporaryFile("w+", errors="replace") as file:
            pid = get_original("os", "fork")()
            if not pid:
                try:
                    configure(settings_of(candidate.wsgi()).log_format, cfg.logconfig)
                    self.log.setup(cfg)
                    if cfg.pidfile and cfg.pidfile != self.cfg.pidfile:
                        Pidfile(cfg.pidfile).create(self.pid)
                    gunicorn.util.set_owner_process(cfg.uid, cfg.gid, initgroups=cfg.initgroups)
                    WorkerTmp(cfg)
                except BaseException as error:
                    print(str(error) or repr(error), file=file, flush=True)
                finally:
                    os._exit(0)
            wait = get_original("os", "waitpid")
            try:
                wait(pid, 0)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                wait(pid, 0)
                raise
            file.seek(0)
            if reason := " ".join(file.read().split()):
                raise SettingError(reason)


@contextmanager
def _time_limit() -> Iterator[None]:
    """Interrupt what waits for longer, such as for the writer of a pipe that is read as a file."""

    def expire(*_: object) -> None:
        raise TimeoutError(f"a file could not be opened or read within {_RELOAD_SECONDS} seconds")

    signal.signal(signal.SIGALRM, expire)
    signal.alarm(_RELOAD_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def _close(listeners: list[Any], kept: list[Any]) -> None:
    gunicorn.sock.close_sockets([listener for listener in listeners if listener not in kept])
