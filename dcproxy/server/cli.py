"""The ``dcproxy`` command: gunicorn with the application. It accepts options of deltacloudd."""

import argparse
import os
import re
import sys
from collections.abc import Callable
from configparser import InterpolationError
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from wsgiref.types import WSGIApplication

from paste.deploy import loadapp
from paste.deploy.loadwsgi import APP, SERVER, loadcontext

from dcproxy.app import app_factory
from dcproxy.server import mock
from dcproxy.server.arbiter import Server
from dcproxy.server.log_format import has_section
from dcproxy.server.metrics import shared_folder
from dcproxy.server.transport import port_or_path
from dcproxy.settings import SettingError, Settings, from_options, setting_error

Value = TypeVar("Value")

_HOST = "localhost"
_PORT = 3001

MOCK_USER = "mockuser:mockpassword"

_INSTEAD = {
    "-e": "logs have the option log_format",
    "-d": "deploy/dcproxy@.service runs it in the background",
    "-f": "there is only the Deltacloud frontend",
    "-L": "logs go to stderr: redirect it, or use [loggers] in the file of --config",
    "-V": "[loggers] in the file of --config sets the level of logs",
    "-t": "the option deadline in the file of --config limits each request",
    "API_USER": "clients send their own credentials",
    "API_PASSWORD": "clients send their own credentials",
}
"""Options and variables of deltacloudd that have no effect, and what to use instead."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command; ``arguments`` are those of the command line without the program's name."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.drivers:
        print("ec2\nmock")
        return
    for name in [*(given.ignored or ()), *filter(os.environ.get, ("API_USER", "API_PASSWORD"))]:
        print(f"{parser.prog}: {name} has no effect: {_INSTEAD[name]}", file=sys.stderr)
    if any((given.ssl, given.ssl_key, given.ssl_cert)) and not (given.ssl_key and given.ssl_cert):
        parser.error("TLS needs --ssl-key and --ssl-cert")
    if given.provider is None and not given.config:
        given.provider = os.environ.get("API_PROVIDER")
    if given.provider:
        # Requests may name a region in any case, or by the host of its endpoint.
        given.provider = re.sub(r"^ec2\.([^.]+)\..+", r"\1", given.provider.lower())
    if given.config and (given.provider or given.driver == "mock"):
        parser.error("--config excludes --provider and --driver mock: the file configures both")
    if given.check and not given.config:
        parser.error("--check needs --config: it checks that file")
    if given.doctor and not given.config:
        parser.error("--doctor needs --config: it examines the accounts of that file")
    if (given.account or given.json) and not given.doctor:
        parser.error("--account and --json need --doctor")
    if given.driver == "mock" and not all(map(find_spec, ("moto", "flask"))):
        parser.error("the mock EC2 is not installed: pip install 'dcproxy[mock]'")
    with ExitStack() as stack:
        try:
            hooks = stack.enter_context(shared_folder())
            _serve(given, stack, hooks)
        except SettingError as error:
            parser.exit(2, f"{parser.prog}: error: {error}\n")
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
        help="EC2, or a mock EC2 that needs no account (default: %(default)s)",
    )
    parser.add_argument(
        "-r", "--hostname", help=f"host name or address to listen on (default: {_HOST})"
    )
    parser.add_argument("-p", "--port", type=_port, help=f"port to listen on (default: {_PORT})")
    parser.add_argument(
        "-P",
        "--provider",
        help=f"EC2 region of requests that do not name one (default: {Settings().provider})",
    )
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE[#NAME]",
        type=_application,
        help="Paste file, such as proxy.ini, and the application to run if it is not main",
    )
    parser.add_argument(
        "--admin-bind", metavar="ADDRESS", help="address of the health check and the metrics alone"
    )
    parser.add_argument("-l", "--drivers", action="store_true", help="list the drivers and exit")
    parser.add_argument("-s", "--ssl", action="store_true", help="TLS; needs -k and -C")
    parser.add_argument("-k", "--ssl-key", metavar="FILE", type=_file, help="key for TLS")
    parser.add_argument("-C", "--ssl-cert", metavar="FILE", type=_file, help="certificate for TLS")
    for flag in ("-d", "-V"):
        parser.add_argument(
            flag, action="append_const", const=flag, dest="ignored", help=argparse.SUPPRESS
        )
    for option in ("-e", "-f", "-L", "-t"):
        parser.add_argument(
            option, action=_Ignored, dest="ignored", help=argparse.SUPPRESS, default=[]
        )
    parser.add_argument("--check", action="store_true", help="check the file of --config and exit")
    parser.add_argument(
        "--doctor", action="store_true", help="examine the way to EC2, keys and permissions; exit"
    )
    parser.add_argument("--account", metavar="NAME", help="the account that --doctor examines")
    parser.add_argument("--json", action="store_true", help="let --doctor write JSON")
    parser.add_argument("--version", action="version", version=f"dcproxy {version('dcproxy')}")
    return parser


class _Ignored(argparse.Action):
    """Notes an option of deltacloudd whose value has no effect."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        namespace.ignored = [*(namespace.ignored or ()), option_string]


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text} is not a port: use 0 (any free one) to 65535")
    return int(text)


def _application(text: str) -> str:
    file, number_sign, name = text.partition("#")
    return f"{_file(file)}{number_sign}{name}"


def _file(text: str) -> Path:
    path = Path(text).absolute()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def _serve(given: argparse.Namespace, stack: ExitStack, hooks: dict[str, Any]) -> None:
    own = _settings(given) | _tls(given) | hooks
    global_conf = {"admin_bind": given.admin_bind} if given.admin_bind else {}
    if given.config:
        server = Server(
            lambda: _of_file(given.config, lambda file: _load(file, global_conf)),
            lambda: _listening(
                own | _of_file(given.config, _file_settings) | _address(given),
                given.admin_bind or _of_file(given.config, _admin_bind),
            ),
        )
    else:
        options = {"provider": given.provider} if given.provider else {}
        server = Server(
            lambda: app_factory(global_conf, **options),
            lambda: _listening(own | _address(given), given.admin_bind),
        )
        if given.driver == "mock":
            server.load()  # before the mock is started in vain
            options["ec2_endpoint_url"] = stack.enter_context(mock.running())
            mock.add_examples(options["ec2_endpoint_url"], given.provider or Settings().provider)
    if given.doctor:
        from dcproxy import doctor

        sys.exit(doctor.run(given.config, server.arbiter, given.account, given.json))
    arbiter = server.arbiter()
    if given.check:
        print(f"{given.config} is correct")
        return
    try:
        arbiter.run()
    except Exception as error:
        raise SettingError(f"gunicorn cannot start: {error}") from error


def _of_file(config: str, read: Callable[[str], Value]) -> Value:
    """Read something from a Paste file. Raises ``SettingError`` that names the file."""
    try:
        return read(config)
    except InterpolationError as error:
        raise SettingError(
            f"{config}: option {error.option} in [{error.section}] has a % that begins no "
            "%(name)s: write %% for a % itself"
        ) from error
    except Exception as error:
        raise SettingError(f"{config}: {' '.join(str(error).split())}") from error


def _load(config: str, global_conf: dict[str, str]) -> WSGIApplication:
    app: WSGIApplication = loadapp(f"config:{config}", global_conf=global_conf)
    return app


def _admin_bind(config: str) -> str | None:
    """Return the option ``admin_bind`` of the application, or of a filter in its pipeline."""
    context = loadcontext(APP, f"config:{config}")
    parts = [context, *getattr(context, "filter_contexts", ())]
    return next(filter(None, (part.local_conf.get("admin_bind") for part in parts)), None)


def _file_settings(config: str) -> dict[str, Any]:
    of_file: dict[str, Any] = {}
    file, _, _ = config.partition("#")
    if has_section(file, "loggers"):
        of_file["logconfig"] = file
    if has_section(file, "server:main"):
        of_file |= loadcontext(SERVER, f"config:{file}", name="main").local_conf
    return of_file


def _settings(given: argparse.Namespace) -> dict[str, Any]:
    return {
        "bind": f"{_HOST}:{_PORT}",
        "when_ready": lambda arbiter: _greet(given, arbiter),
        # Requests to a mock need not be finished.
        "graceful_timeout": 1 if given.driver == "mock" else 45,
    }


def _tls(given: argparse.Namespace) -> dict[str, str]:
    if not given.ssl_cert:
        return {}
    return {"certfile": str(given.ssl_cert), "keyfile": str(given.ssl_key)}


def _address(given: argparse.Namespace) -> dict[str, str]:
    if given.hostname is None and given.port is None:
        return {}
    host = given.hostname or _HOST
    port = _PORT if given.port is None else given.port
    return {"bind": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"}


def _listening(settings: dict[str, Any], admin_bind: str | None) -> dict[str, Any]:
    """Complete ``bind`` in the settings of gunicorn, which takes several addresses as a list only.

    Raises ``SettingError``.
    """
    addresses = [address.strip() for address in settings["bind"].split(",")]
    if admin_bind:
        admin_bind = from_options({"admin_bind": admin_bind}).admin_bind or ""
        if port_or_path(admin_bind) in map(port_or_path, addresses):
            raise setting_error("admin_bind", admin_bind, "a port or path that bind does not have")
        addresses.append(admin_bind)
    return settings | {"bind": addresses} if len(addresses) > 1 else settings


def _greet(given: argparse.Namespace, arbiter: Any) -> None:
    listeners = arbiter.LISTENERS  # none with reuse_port
    address = listeners[0].getsockname() if listeners else arbiter.cfg.address[0]
    if isinstance(address, str):
        print(f"dcproxy listens on the socket {address}")
    else:
        host = given.hostname or _HOST
        host = _HOST if host in {"0.0.0.0", "::"} else host  # noqa: S104
        scheme = "https" if arbiter.cfg.is_ssl else "http"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{address[1]}/api"
        print(f"dcproxy listens on {url}")
        if given.driver == "mock":
            print(f"Try: curl --user {MOCK_USER} '{url}/storage_snapshots?owner_id=self'")
    sys.stdout.flush()
