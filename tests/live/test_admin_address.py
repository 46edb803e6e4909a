"""An address of their own for the health check and the metrics."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.ec2_responses import snapshots_page
from tests.support.launcher import run
from tests.support.servers import (
    BIN,
    LIMIT_SECONDS,
    ROOT,
    WORKER,
    free_port,
    gunicorn,
    proxy_ini,
    running,
    wait_until,
    with_options,
)

OPERATIONAL = ["/healthz", "/metrics"]
OTHERS = ["/", "/api", SNAPSHOTS, "/nothing"]
PIPELINE = """
[pipeline:main]
pipeline = dcproxy behind

[app:behind]
paste.app_factory = tests.support.old_server:app_factory

[app:alone]
"""


@contextmanager
def command(tmp_path, endpoint, admin, *arguments, options=None, replace=()):
    ini = tmp_path / "proxy.ini"
    text = proxy_ini(endpoint, ("workers = 2", "workers = 1"), *replace)
    ini.write_text(with_options(text, options or {}))
    line = [BIN / "dcproxy", "--config", ini, "--port", "0", *arguments]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with running(line, tmp_path / "log", cwd=tmp_path, env=env) as server:
        yield server


def by_option(tmp_path, endpoint, admin):
    return command(tmp_path, endpoint, admin, options={"admin_bind": admin})


def by_argument(tmp_path, endpoint, admin):
    overridden = {"admin_bind": "127.0.0.1:1"}
    return command(tmp_path, endpoint, admin, "--admin-bind", admin, options=overridden)


def by_filter(tmp_path, endpoint, admin):
    replace = [
        ("[app:main]\n", PIPELINE),
        (
            "[filter:dcproxy]\nuse = egg:dcproxy\n",
            f"[filter:dcproxy]\nuse = egg:dcproxy\n"
            f"ec2_endpoint_url = {endpoint}\nadmin_bind = {admin}\n",
        ),
    ]
    return command(tmp_path, endpoint, admin, replace=replace)


def by_gunicorn(tmp_path, endpoint, admin):
    options = {"admin_bind": admin}
    return gunicorn(tmp_path, endpoint, "--bind", admin, *WORKER, options=options)


def status_of(address, path, more=""):
    """Send a GET to a port, or to the path of a Unix socket; give the status."""
    is_port = isinstance(address, int)
    with socket.socket(socket.AF_INET if is_port else socket.AF_UNIX) as connection:
        connection.settimeout(LIMIT_SECONDS)
        connection.connect(("127.0.0.1", address) if is_port else address)
        head = f"GET {path} HTTP/1.1\r\nHost: cloud\r\nConnection: close\r\n"
        connection.sendall(f"{head}Authorization: {AUTHORIZATION}\r\n{more}\r\n".encode())
        with connection.makefile("rb") as response:
            return int(response.read().split()[1])


@pytest.fixture(
    scope="module",
    params=[
        (by_option, "tcp"),
        (by_option, "unix"),
        (by_argument, "tcp"),
        (by_filter, "tcp"),
        (by_gunicorn, "tcp"),
    ],
    ids=lambda param: f"{param[0].__name__}-{param[1]}",
)
def ports(request, ec2_server, tmp_path_factory):
    """Run a server; give its public port, and its admin port or socket."""
    run, kind = request.param
    tmp_path = tmp_path_factory.mktemp("admin")
    admin = free_port() if kind == "tcp" else str(tmp_path / "admin.socket")
    bind = f"127.0.0.1:{admin}" if kind == "tcp" else f"unix:{admin}"
    with run(tmp_path, ec2_server.url, bind) as server:
        yield server.port, admin


def test_operational_endpoints_answer_at_the_admin_address_alone(ports, programmed_ec2):
    public, admin = ports
    assert [status_of(admin, path) for path in OPERATIONAL] == [200] * 2
    assert 200 not in [status_of(public, path) for path in OPERATIONAL]


def test_nothing_else_answers_at_the_admin_address(ports, programmed_ec2):
    public, admin = ports
    assert [status_of(admin, path) for path in OTHERS] == [404] * len(OTHERS)
    assert status_of(public, SNAPSHOTS) == 200


def test_no_header_makes_the_public_address_the_admin_address(ports, programmed_ec2):
    public, admin = ports
    for more in (
        f"X-Forwarded-Port: {admin}\r\n",
        f"X-Forwarded-Host: 127.0.0.1:{admin}\r\n",
        "SCRIPT_NAME: /healthz\r\n",
    ):
        assert status_of(public, "/healthz", more) != 200


def test_admin_address_answers_when_no_slot_is_free(ports, programmed_ec2):
    public, admin = ports
    answered = Event()

    def respond(request):
        answered.wait(LIMIT_SECONDS)
        return snapshots_page("")

    programmed_ec2.respond = respond
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(status_of, public, SNAPSHOTS)
        wait_until(lambda: programmed_ec2.requests, "the request to EC2")
        assert status_of(admin, "/healthz") == 200
        assert status_of(admin, "/metrics") == 200
        answered.set()
        assert waiting.result() == 200


@pytest.mark.parametrize("is_argument", [False, True])
def test_admin_address_with_the_port_of_the_api_is_an_error_of_the_check(tmp_path, is_argument):
    ini = tmp_path / "proxy.ini"
    option = "" if is_argument else "admin_bind = 127.0.0.1:3001\n"
    ini.write_text(f"[app:main]\nuse = egg:dcproxy\n{option}")
    argument = ["--admin-bind", "127.0.0.1:3001"] if is_argument else []
    result = run([BIN / "dcproxy", "--check", "--config", ini, *argument])
    assert result.returncode == 2
    assert (
        "option admin_bind = '127.0.0.1:3001' is not allowed: it takes a port or path that bind "
        "does not have" in result.stderr
    )
