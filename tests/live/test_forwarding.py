"""Headers of a client change neither scheme nor prefix nor host, over TCP and Unix sockets."""

import socket
from contextlib import contextmanager

import pytest

from tests.support.servers import BIN, WORKER, gunicorn, proxy_ini, running

HEADERS = {
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Host": "evil.example.org",
    "X-Forwarded-Port": "8443",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Protocol": "ssl",
    "X-Forwarded-Ssl": "on",
    "Forwarded": "host=evil.example.org;proto=https",
}


def gunicorn_alone(tmp_path, endpoint, unix_socket, *arguments):
    return gunicorn(tmp_path, endpoint, "--bind", f"unix:{unix_socket}", *WORKER, *arguments)


def gunicorn_as_documented(tmp_path, endpoint, unix_socket):
    return gunicorn_alone(tmp_path, endpoint, unix_socket, "--forwarder-headers", "")


@contextmanager
def command(tmp_path, endpoint, unix_socket):
    ini = tmp_path / "proxy.ini"
    bind = f"bind = 127.0.0.1:0, unix:{unix_socket}"
    ini.write_text(proxy_ini(endpoint, ("#bind = 0.0.0.0:3001", bind)))
    with running([BIN / "dcproxy", "--config", ini], tmp_path / "log", cwd=tmp_path) as server:
        yield server


@pytest.fixture(scope="module", params=[gunicorn_alone, gunicorn_as_documented, command])
def exchanges(request, ec2_server, tmp_path_factory):
    """Give functions that send a request: over TCP, and over a Unix socket."""
    tmp_path = tmp_path_factory.mktemp("forwarding")
    unix_socket = tmp_path / "socket"
    with request.param(tmp_path, ec2_server.url, unix_socket) as server:

        def over_unix(text):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(20)
                connection.connect(str(unix_socket))
                connection.sendall(text)
                with connection.makefile("rb") as response:
                    return response.read()

        yield {"tcp": server.exchange, "unix": over_unix, "server": request.param}


@pytest.fixture(params=["tcp", "unix"])
def get(request, exchanges):
    """Send a GET with some headers; give status and body."""

    def send(path, headers):
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        text = f"GET {path} HTTP/1.1\r\nHost: cloud\r\nConnection: close\r\n{lines}\r\n"
        head, _, body = exchanges[request.param](text.encode()).partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    send.server = exchanges["server"]
    return send


@pytest.mark.parametrize("name", HEADERS)
def test_forwarded_header_changes_no_link(get, name):
    status, body = get("/api", {name: HEADERS[name]})
    assert status == 200
    assert "href='http://cloud/api/" in body


def test_contradictory_forwarded_headers_are_ignored_by_the_command(get):
    status, _ = get("/api", {"X-Forwarded-Proto": "https", "X-Forwarded-Ssl": "off"})
    assert status == (200 if get.server is command else 400)


@pytest.mark.parametrize("path", ["/x/metrics", "/x/healthz", "/x/api", "/x/"])
def test_prefix_of_a_client_opens_nothing(get, path):
    assert get(path, {"SCRIPT_NAME": "/x"})[0] == 404


def test_prefix_of_a_client_breaks_nothing(get):
    status, body = get("/api", {"SCRIPT_NAME": "/x", "PATH_INFO": "/y", "REMOTE_USER": "z"})
    assert status == (500 if get.server is gunicorn_alone else 200)
    assert "/x/" not in body
