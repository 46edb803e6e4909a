"""The ``dcproxy`` command: gunicorn with the application in it, for the hands of a deltacloudd."""

import argparse
import sys
from collections.abc import Callable
from configparser import Error
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from paste.deploy import loadapp
from paste.deploy.loadwsgi import SERVER, loadcontext

from dcproxy import mock
from dcproxy.app import app_factory
from dcproxy.settings import SettingError, Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

THREADS = 64
"""Threads of a worker that waits on the network: measured, see Scaling in the README."""

MOCK_USER = "mockuser:mockpassword"


def main(arguments: list[str] | None = None) -> None:
    """Run the command; ``arguments`` are those of the command line without the program's name."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.config and (given.provider or given.driver == "mock"):
        parser.error("--config goes without --provider and --driver mock: the file says it all")
    if given.check and not given.config:
        parser.error("--check goes with --config: it says whether that file is good")
    if given.driver == "mock" and not mock.installed():
        parser.error("the mock EC2 is not installed: pip install 'dcproxy[mock]'")
    with ExitStack() as mock_ec2:
        try:
            _serve(given, mock_ec2)
        except SettingError as error:
            parser.error(str(error))
        except KeyboardInterrupt:
            sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dcproxy", description="Answer Deltacloud's storage snapshots with native EC2."
    )
    parser.add_argument(
        "-i",
        "--driver",
        choices=("ec2", "mock"),
        default="ec2",
        help="the cloud: EC2, or a mock of it that needs no account (default: %(default)s)",
    )
    parser.add_argument(
        "-r",
        "--hostname",
        default="localhost",
        help="host name or address to listen on (default: %(default)s)",
    )
    parser.add_argument(
        "-p", "--port", type=_port, default=3001, help="port to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "-P",
        "--provider",
        help=f"EC2 region of requests that name none (default: {Settings().provider})",
    )
    parser.add_argument(
        "-c", "--config", metavar="FILE", type=_file, help="Paste file, such as proxy.ini"
    )
    parser.add_argument(
        "--check", action="store_true", help="only say whether the file of --config is good"
    )
    parser.add_argument("--version", action="version", version=f"dcproxy {version('dcproxy')}")
    return parser


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is no port: it takes 0 (any free one) to 65535")
    return int(text)


def _file(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def _serve(given: argparse.Namespace, stack: ExitStack) -> None:
    if given.config:
        uri = f"config:{given.config}"
        try:
            loadapp(uri)
        except (AttributeError, ImportError, LookupError, OSError, ValueError, Error) as error:
            raise SettingError(f"{given.config}: {' '.join(str(error).split())}") from error
        if given.check:
            print(f"{given.config} is good")
            return
        _Gunicorn(lambda: loadapp(uri), _server_settings(given) | _server_section(uri)).run()
    options = {"provider": given.provider} if given.provider else {}
    app_factory({}, **options)
    if given.driver == "mock":
        options["ec2_endpoint_url"] = stack.enter_context(mock.running())
        mock.add_examples(options["ec2_endpoint_url"], given.provider or Settings().provider)
    _Gunicorn(lambda: app_factory({}, **options), _server_settings(given)).run()


def _server_settings(given: argparse.Namespace) -> dict[str, Any]:
    host = f"[{given.hostname}]" if ":" in given.hostname else given.hostname
    return {
        "bind": f"{host}:{given.port}",
        "worker_class": "gthread",
        "threads": THREADS,
        "control_socket_disable": True,
        "when_ready": lambda arbiter: _greet(given, arbiter.LISTENERS[0].getsockname()[1]),
        # A mock has nothing to finish.
        "graceful_timeout": 1 if given.driver == "mock" else 30,
    }


def _server_section(uri: str) -> dict[str, str]:
    try:
        context = loadcontext(SERVER, uri, name="main")
    except LookupError:
        return {}
    return dict(context.local_conf)


def _greet(given: argparse.Namespace, port: int) -> None:
    host = "localhost" if given.hostname in {"0.0.0.0", "::"} else given.hostname  # noqa: S104
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/api"
    print(f"dcproxy answers at {url}")
    if given.driver == "mock":
        print(f"Try: curl --user {MOCK_USER} '{url}/storage_snapshots?owner_id=self'")
    sys.stdout.flush()


class _Gunicorn(BaseApplication):  # type: ignore[misc]
    """gunicorn without a command line of its own."""

    def __init__(self, load: "Callable[[], WSGIApplication]", settings: dict[str, Any]) -> None:
        self._load = load
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> "WSGIApplication":
        return self._load()
