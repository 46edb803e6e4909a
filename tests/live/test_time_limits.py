"""No fault of EC2 or the network holds a request longer than the bound in the README."""

import socket
import threading
import time

import pytest
from lxml import etree

from tests.support.balancers import certificate
from tests.support.callers import AUTHORIZATION
from tests.support.ec2_server import programmed_ec2_server
from tests.support.servers import THREADS, gunicorn

CONNECT, READ, ATTEMPTS = 0.5, 0.5, 2
# n * (c + r) + (n - 1) * 25, as the README says; and what the machine needs.
BOUND = ATTEMPTS * (CONNECT + READ) + (ATTEMPTS - 1) * 25 + 2
SHORT = (
    ("connect_timeout = 5", f"connect_timeout = {CONNECT}"),
    ("read_timeout = 60", f"read_timeout = {READ}"),
    ("retry_attempts = 3", f"retry_attempts = {ATTEMPTS}"),
)


@pytest.fixture
def silent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def full():
    """A listener that takes no more connections."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def refusing():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


def serving(answer):
    """A server that does ``answer`` with each connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                answer(connection)

    threading.Thread(target=serve, daemon=True).start()
    return listener


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.fixture
def resetting():
    with serving(reset) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def too_short():
    """Answers with fewer bytes than its Content-Length says."""

    def answer(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<a/>")

    with serving(answer) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def unknown():
    return "http://no-such-host.invalid"


@pytest.fixture
def unverified(tmp_path):
    """TLS with a certificate that nobody has signed."""
    _, key, signed = certificate(tmp_path)
    with programmed_ec2_server(ssl_context=(str(signed), str(key))) as ec2:
        yield ec2.url


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("silent", "did not answer in time"),
        ("full", "did not take the connection in time"),
        ("refusing", "cannot be reached"),
        ("resetting", "broke the connection"),
        ("too_short", ""),
        ("unknown", "cannot be reached"),
        ("unverified", "has a TLS certificate that does not verify"),
    ],
)
def test_fault_is_a_clear_502_within_the_bound(request, tmp_path, fault, message):
    endpoint = request.getfixturevalue(fault)
    with gunicorn(tmp_path, endpoint, *THREADS, replace=SHORT) as server:
        connection = server.connect()
        connection.timeout = BOUND
        started = time.monotonic()
        for method in ("GET", "DELETE"):
            address = "/api/storage_snapshots/snap-12345678"
            connection.request(method, address, headers={"Authorization": AUTHORIZATION})
            response = connection.getresponse()
            body = response.read()
            assert response.status == 502
            assert message in etree.fromstring(body).findtext("message")
            assert response.headers["Retry-After"]
        assert time.monotonic() - started < 2 * BOUND, "the limit of a wait, not a measurement"
        assert "Traceback" not in server.log.read_text()
