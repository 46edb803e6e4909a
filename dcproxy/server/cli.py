"""The ``dcproxy`` command: gunicorn with the application. It accepts options of deltacloudd."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Iterator
from configparser import ConfigParser, InterpolationError, MissingSectionHeaderError, ParsingError
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from wsgiref.types import WSGIApplication

from botocore.utils import get_environ_proxies
from paste.deploy import loadapp
from paste.deploy.loadwsgi import SERVER, loadcontext

from dcproxy import doctor
from dcproxy.app import app_factory
from dcproxy.server import mock
from dcproxy.server.arbiter import Server
from dcproxy.server.metrics import shared_folder
from dcproxy.server.worker import settings_of
from dcproxy.settings import SettingError, Settings, from_options, without_password

log = logging.getLogger(__name__)

_HOST, _PORT, _REGION = "localhost", 3001, Settings().provider

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
    for name, instead in _INSTEAD.items():
        if vars(given).get(name) or os.environ.get(name):
            print(f"{parser.prog}: {name} has no effect: {instead}", file=sys.stderr)
    if given.provider is None and not given.config:
        given.provider = os.environ.get("API_PROVIDER")
    if given.provider:
        # Requests may name a region in any case, or by the host of its endpoint.
        given.provider = re.sub(r"^ec2\.([^.]+)\..+", r"\1", given.provider.lower())
    if any((given.ssl, given.ssl_key, given.ssl_cert)) and not (given.ssl_key and given.ssl_cert):
        parser.error("TLS needs --ssl-key and --ssl-cert")
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
    try:
        with shared_folder() as hooks, ExitStack() as stack:
            _serve(given, stack, hooks)
    except SettingError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dcproxy", description="Answer Deltacloud's storage snapshots with native EC2."
    )
    add = parser.add_argument
    driver = "EC2, or a mock EC2 that needs no account (default: ec2)"
    add("-i", "--driver", choices=("ec2", "mock"), default="ec2", help=driver)
    add("-r", "--hostname", help=f"host name or address to listen on (default: {_HOST})")
    add("-p", "--port", type=_port, help=f"port to listen on (default: {_PORT})")
    add("-P", "--provider", help=f"EC2 region of requests that name none (default: {_REGION})")
    file = "Paste file, such as proxy.ini, and the application to run if it is not main"
    add("-c", "--config", metavar="FILE[#NAME]", type=_application, help=file)
    add("--admin-bind", metavar="ADDRESS", help="address of the health check and the metrics alone")
    add("-l", "--drivers", action="store_true", help="list the drivers and exit")
    add("-s", "--ssl", action="store_true", help="TLS; needs -k and -C")
    add("-k", "--ssl-key", metavar="FILE", type=_file, help="key for TLS")
    add("-C", "--ssl-cert", metavar="FILE", type=_file, help="certificate for TLS")
    for option in filter(lambda name: name.startswith("-"), _INSTEAD):
        action = "store_true" if option in {"-d", "-V"} else "store"
        add(option, dest=option, action=action, help=argparse.SUPPRESS)
    add("--check", action="store_true", help="check the file of --config and exit")
    add("--doctor", action="store_true", help="examine the way to EC2, keys and permissions; exit")
    add("--account", metavar="NAME", help="the account that --doctor examines")
    add("--json", action="store_true", help="let --doctor write JSON")
    add("--version", action="version", version=f"dcproxy {version('dcproxy')}")
    return parser


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
    options = {"provider": given.provider} if given.provider else {}
    if given.driver == "mock":
        _load(given, options)  # before the mock is started in vain
        options["ec2_endpoint_url"] = stack.enter_context(mock.running())
        mock.add_examples(options["ec2_endpoint_url"], given.provider or _REGION)
    admin_bind = from_options({"admin_bind": given.admin_bind or ""}).admin_bind
    server = Server(partial(_load, given, options), partial(_settings, given, hooks), admin_bind)
    if given.doctor:
        sys.exit(
            doctor.run(given.config, lambda: server.arbiter().app.wsgi(), given.account, given.json)
        )
    arbiter = server.arbiter()
    if given.check:
        print(f"{given.config} is correct")
        return
    try:
        arbiter.run()
    except Exception as error:
        raise SettingError(f"gunicorn cannot start: {error}") from error


@contextmanager
def _errors_of(config: str) -> Iterator[None]:
    """Let what is wrong with a Paste file be a ``SettingError`` that names the file."""
    try:
        yield
    except (Exception, SystemExit) as error:  # other applications of the file may exit
        text = " ".join(str(error).split())
        if isinstance(error, InterpolationError):
            option = f"option {error.option} in [{error.section}]"
            text = f"{option} has a % that begins no %(name)s: write %% for a % itself"
        elif isinstance(error, MissingSectionHeaderError):
            text = f"line {error.lineno} is in no [section]"
        elif isinstance(error, ParsingError):  # without the lines, which may hold a secret
            text = f"not NAME = VALUE in line {', '.join(str(line) for line, _ in error.errors)}"
        raise SettingError(f"{config}: {text}") from None


def _load(given: argparse.Namespace, options: dict[str, str]) -> WSGIApplication:
    global_conf = {"admin_bind": given.admin_bind} if given.admin_bind else {}
    if not given.config:
        return app_factory(global_conf, **options)
    with _errors_of(given.config):
        app: WSGIApplication = loadapp(f"config:{given.config}", global_conf=global_conf)
    return app


def _settings(given: argparse.Namespace, hooks: dict[str, Any]) -> dict[str, Any]:
    """Return gunicorn's settings: defaults, file, command's address. Raises ``SettingError``."""
    settings = {
        "bind": f"{_HOST}:{_PORT}",
        "when_ready": partial(_greet, given),
        "on_reload": partial(_log_what_runs, given),
        # Requests to a mock need not be finished.
        "graceful_timeout": 1 if given.driver == "mock" else 45,
        **hooks,
    }
    if given.ssl_cert:
        settings |= {"certfile": str(given.ssl_cert), "keyfile": str(given.ssl_key)}
    if given.config:
        file, _, _ = given.config.partition("#")
        sections = ConfigParser(interpolation=None, strict=False)
        with _errors_of(given.config):
            sections.read(file)
            if sections.has_section("loggers"):
                settings["logconfig"] = file
            if sections.has_section("server:main"):
                settings |= loadcontext(SERVER, f"config:{file}", name="main").local_conf
    if given.hostname is not None or given.port is not None:
        host, port = given.hostname or _HOST, _PORT if given.port is None else given.port
        settings["bind"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if "," in settings["bind"]:  # gunicorn takes several addresses as a list only
        settings["bind"] = [address.strip() for address in settings["bind"].split(",")]
    return settings


def _log_what_runs(given: argparse.Namespace, arbiter: Any) -> None:
    app = arbiter.app.wsgi()
    settings = settings_of(app)
    url = settings.ec2_endpoint_url or f"https://ec2.{settings.provider}.amazonaws.com"
    proxy = get_environ_proxies(url).get(urlsplit(url).scheme, "none")
    log.info(
        "dcproxy %s: file %s, EC2 %s, proxy %s, CA file %s, accounts %d",
        *(version("dcproxy"), given.config or "none", settings.ec2_endpoint_url or "of AWS"),
        *(without_password(proxy), os.environ.get("AWS_CA_BUNDLE") or "default"),
        len(getattr(app, "accounts", ())),
    )


def _greet(given: argparse.Namespace, arbiter: Any) -> None:
    _log_what_runs(given, arbiter)
    listeners = arbiter.LISTENERS  # none with reuse_port
    address = listeners[0].getsockname() if listeners else arbiter.cfg.address[0]
    if isinstance(address, str):
        print(f"dcproxy listens on the socket {address}")
    else:
        is_any = given.hostname in {None, "", "0.0.0.0", "::"}  # noqa: S104
        host = _HOST if is_any else given.hostname
        scheme = "https" if arbiter.cfg.is_ssl else "http"
        url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{address[1]}/api"
        print(f"dcproxy listens on {url}")
        if given.driver == "mock":
            print(f"Try: curl --user {MOCK_USER} '{url}/storage_snapshots?owner_id=self'")
    sys.stdout.flush()
