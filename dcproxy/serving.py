"""gunicorn as the ``dcproxy`` command runs it: one log, safe reloads, stops that lose nobody."""

import gc
import logging
import select
import signal
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from dcproxy.logs import LineFormatter
from dcproxy.settings import SettingError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

THREADS = 64
"""Threads of a worker that waits on the network: measured, see Scaling in the README."""


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn without a command line of its own.

    ``load`` makes the application, ``settings`` gives gunicorn's own settings, both again at each
    reload; both may raise ``SettingError``.
    """

    def __init__(
        self, load: "Callable[[], WSGIApplication]", settings: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._load = load
        self._settings = settings
        super().__init__()

    def do_load_config(self) -> None:
        """Read the settings. Raises ``SettingError``, where gunicorn would exit."""
        self.load_default_config()
        defaults = {
            "worker_class": Worker,
            "threads": THREADS,
            "logger_class": _Log,
            "control_socket_disable": True,
            "post_worker_init": _hear_signals,
        }
        given = defaults | dict(self._settings())
        for name, value in given.items():
            if name in _OF_GUNICORNS_COMMAND_LINE:
                raise SettingError(f"option {name} is gunicorn's own: it does nothing here")
            with _naming(name, value):
                self.cfg.set(name, value)
        # What gunicorn would find out too late.
        for name, check in _CHECKS.items():
            with _naming(name, given.get(name)):
                check(self.cfg)

    def load(self) -> "WSGIApplication":
        """Make the application, in a worker."""
        return self._load()

    def check(self) -> None:
        """Raise ``SettingError`` when this could not start."""
        try:
            Server(self._load, self._settings).load()
        finally:
            # This process needs nothing of what was made, and a reload makes it again.
            gc.unfreeze()
            gc.collect()

    def arbiter(self) -> "_Arbiter":
        """Make the process that starts and stops the workers. Raises ``SettingError``."""
        self.check()
        try:
            return _Arbiter(self)
        except Exception as error:
            raise SettingError(f"logging cannot be set up: {error!r}") from error


_OF_GUNICORNS_COMMAND_LINE = {"chdir", "config", "daemon", "pythonpath"}


@contextmanager
def _naming(name: str, value: object) -> Iterator[None]:
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
        """Fork a worker that hears each signal to stop, once it can: not in gunicorn's handlers."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            pid: int = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid

    def reload(self) -> None:
        """Reload what is good; gunicorn would stop all that runs for a wrong option."""
        try:
            self.app.check()
        except Exception as error:
            self.log.error("nothing was reloaded: %s", error)
        else:
            super().reload()


def _hear_signals(worker: Any) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Lets go of the port as soon as it stops.

    gunicorn's own keeps it until the last request is done, with nobody to serve who comes
    meanwhile. A connection that is refused is one that a balancer takes elsewhere.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or do not; a stopping worker serves those that wait already."""
        super().set_accept_enabled(enabled)
        if not (enabled or self.alive):
            while self.sockets:
                listener = self.sockets.pop()
                while select.select([listener], [], [], 0)[0]:
                    self.accept(listener)
                listener.close()


class _Log(Logger):  # type: ignore[misc]
    def setup(self, cfg: Any) -> None:
        """Write gunicorn's own lines as the application's, where those have our format."""
        super().setup(cfg)
        for ours in logging.getLogger("dcproxy").handlers:
            if isinstance(ours.formatter, LineFormatter):
                for handler in self.error_log.handlers:
                    handler.setFormatter(ours.formatter)
