"""Clients that send or read slowly, or not at all: they cost others nothing, and end in time."""

import re
import resource
import select
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support import instant_ec2
from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.callers import AUTHORIZATION, basic_authorization
from tests.support.certificates import make_certificate
from tests.support.ec2_responses import snapshot_item, snapshots_page
from tests.support.servers import LIMIT_SECONDS, WORKER, children, gunicorn, wait_until

LIMIT = {"request_timeout": 1, "idle_timeout": 1}
LIST = f"GET {SNAPSHOTS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\n\r\n"
HALF_HEAD = b"GET /healthz HTTP/1.1\r\nHost: local"
HALF_BODY = (
    f"POST {SNAPSHOTS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nvolume_id="
).encode()
HALF_HANDSHAKE = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"
STALLED = "it took nothing of its response for 1 seconds"


@pytest.fixture(scope="module")
def long_list():
    """Run an EC2 with more snapshots than any buffer holds."""
    with instant_ec2.running(pages=100) as url:
        yield url


@pytest.fixture(scope="module")
def server(long_list, tmp_path_factory):
    """Run a worker with short time limits: TCP, TLS and a Unix socket, by its ``connect``."""
    folder = tmp_path_factory.mktemp("server")
    with gunicorn(folder, long_list, *WORKER, "--keep-alive=30", options=LIMIT) as server:
        yield server


def connect(server, buffer=None):
    connection = socket.socket()
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    connection.settimeout(LIMIT_SECONDS)
    connection.connect(("127.0.0.1", server.port))
    return connection


def descriptors(server):
    [worker] = children(server.process.pid)
    return len(list(Path(f"/proc/{worker}/fd").iterdir()))


def metric(server, name):
    _, body = server.get("/metrics")
    return float(re.search(rf"^{name} (\S+)$", body.decode(), re.MULTILINE)[1])


@pytest.mark.parametrize("sent", [b"", HALF_HEAD, HALF_BODY], ids=["nothing", "head", "body"])
def test_incomplete_requests_do_not_delay_others(tmp_path, long_list, sent):
    with gunicorn(tmp_path, long_list, *WORKER) as server, ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connect(server)).sendall(sent)
        response, _ = server.get(SNAPSHOT, {"Authorization": AUTHORIZATION})
        assert response.status == 200
        assert descriptors(server) > 200


def test_connection_that_sends_nothing_in_time_is_closed(server):
    with connect(server) as connection:
        assert connection.recv(100) == b""


@pytest.mark.parametrize("sent", [HALF_HEAD, HALF_BODY], ids=["head", "body"])
def test_time_limit_of_a_request_counts_from_its_first_byte_to_its_last(server, sent):
    with connect(server) as connection:
        connection.sendall(sent)
        connection.settimeout(0.05)
        sent_later = 0
        response = b""
        with suppress(ConnectionError):
            while not response and sent_later < 90:
                connection.sendall(b"x")
                sent_later += 1
                try:
                    response = connection.recv(1000) or b"closed"
                except TimeoutError:
                    continue
        assert sent_later < 90


def test_incomplete_body_is_400_with_the_time_limit(server):
    with connect(server) as connection, connection.makefile("rb") as response:
        connection.sendall(HALF_BODY)
        text = response.read().decode()
    assert text.startswith("HTTP/1.1 400 ")
    assert "The request was not complete within 1 seconds." in text


def test_idle_connection_outlives_the_time_limit_of_a_request(tmp_path, long_list):
    limits = LIMIT | {"request_timeout": 0.2}
    with (
        gunicorn(tmp_path, long_list, *WORKER, "--keep-alive=1", options=limits) as server,
        connect(server) as connection,
        connection.makefile("rb") as responses,
    ):
        for _ in range(2):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while responses.readline() != b"ok\n":
                pass
            threading.Event().wait(0.5)
        assert responses.read() == b""


@contextmanager
def tls_server(folder, ec2):
    ca, key, certificate = make_certificate(folder)
    tls = (f"--certfile={certificate}", f"--keyfile={key}")
    with gunicorn(folder, ec2, *WORKER, *tls, options=LIMIT) as server:
        yield server, ca


def test_half_tls_handshakes_do_not_delay_others_and_are_closed(tmp_path, long_list):
    with tls_server(tmp_path, long_list) as (server, ca), ExitStack() as stack:
        half = [stack.enter_context(connect(server)) for _ in range(100)]
        for connection in half:
            connection.sendall(HALF_HANDSHAKE)
        context = ssl.create_default_context(cafile=ca)
        with context.wrap_socket(connect(server), server_hostname="localhost") as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        for connection in half:
            assert connection.recv(100) == b""
        assert "Traceback" not in server.log.read_text()


@contextmanager
def stalled_over_tcp(folder, ec2):
    with gunicorn(folder, ec2, *WORKER, options=LIMIT) as server, connect(server) as client:
        yield server, client


@contextmanager
def stalled_over_tls(folder, ec2):
    with tls_server(folder, ec2) as (server, ca):
        context = ssl.create_default_context(cafile=ca)
        with context.wrap_socket(connect(server), server_hostname="localhost") as client:
            yield server, client


@contextmanager
def stalled_over_a_unix_socket(folder, ec2):
    path = folder / "socket"
    bind = f"--bind=unix:{path}"
    with (
        gunicorn(folder, ec2, *WORKER, bind, options=LIMIT) as server,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(path))
        yield server, client


def is_closed(client):
    """Tell whether the server has closed a connection, which may have data to read."""
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))


@pytest.mark.parametrize("front", [stalled_over_tcp, stalled_over_tls, stalled_over_a_unix_socket])
def test_client_that_takes_nothing_of_its_response_is_disconnected(tmp_path, long_list, front):
    with front(tmp_path, long_list) as (server, client):
        client.sendall(LIST.encode())
        wait_until(lambda: STALLED in server.log.read_text(), "the log line")
        wait_until(lambda: is_closed(client), "the end of the connection")
        assert "Traceback" not in server.log.read_text()
        if front is stalled_over_tcp:
            assert metric(server, "dcproxy_clients_stalled_total") == 1


@pytest.mark.parametrize("front", [stalled_over_tcp, stalled_over_a_unix_socket])
def test_client_that_reads_slowly_gets_its_list(tmp_path, front):
    with instant_ec2.running(pages=5) as ec2, front(tmp_path, ec2) as (server, client):
        client.sendall(LIST.encode())
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            threading.Event().wait(0.1)
            data = client.recv(1 << 16)
            assert data
            received += data
        assert STALLED not in server.log.read_text()


def test_requests_at_the_same_time_are_signed_with_the_key_of_their_caller(
    programmed_ec2, tmp_path
):
    def respond(request):
        id = request.parameters["SnapshotId.1"]
        seen.add((request.access_key_id, id))
        together.wait(15)
        return snapshots_page(snapshot_item(id))

    def show(server, number):
        authorization = basic_authorization(f"AKIDCALLER{number}:secret")
        address = f"{SNAPSHOTS}/snap-{number:08x}"
        return server.get(address, {"Authorization": authorization})[0].status

    callers = 8
    seen, together = set(), threading.Barrier(callers)
    programmed_ec2.respond = respond
    with (
        gunicorn(tmp_path, programmed_ec2.url, *WORKER) as server,
        ThreadPoolExecutor(callers) as pool,
    ):
        assert set(pool.map(partial(show, server), range(callers))) == {200}
    assert seen == {(f"AKIDCALLER{number}", f"snap-{number:08x}") for number in range(callers)}


def limited(tmp_path, ec2, soft, hard):
    """Run a worker with limits for its descriptors."""
    prlimit = ["prlimit", f"--nofile={soft}:{hard}", "--"]
    return gunicorn(tmp_path, ec2, *WORKER, "--no-control-socket", prefix=prlimit)


def test_limit_of_descriptors_is_raised_at_the_start(tmp_path, long_list):
    with limited(tmp_path, long_list, 200, 900) as server:
        [worker] = children(server.process.pid)
        wait_until(lambda: resource.prlimit(worker, resource.RLIMIT_NOFILE) == (900, 900), "it")
        raised = "the limit of open files was raised from 200 to 900"
        wait_until(lambda: raised in server.log.read_text(), "the line in the log")


def test_worker_with_as_many_connections_as_descriptors_allow_accepts_again(tmp_path, long_list):
    with limited(tmp_path, long_list, 100, 100) as server:
        server.get(SNAPSHOT, {"Authorization": AUTHORIZATION})
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(connect(server))
            paused = "no connections are accepted for now"
            wait_until(lambda: paused in server.log.read_text(), "the pause")
        response, _ = server.get(SNAPSHOT, {"Authorization": AUTHORIZATION})
        assert response.status == 200
        assert metric(server, "dcproxy_accept_pauses_total") >= 1
        assert "Traceback" not in server.log.read_text()


def test_worker_that_runs_out_of_descriptors_accepts_again_when_it_has_some(tmp_path, long_list):
    with limited(tmp_path, long_list, 100, 100) as server:
        server.get(SNAPSHOT, {"Authorization": AUTHORIZATION})
        [worker] = children(server.process.pid)
        few = descriptors(server) + 5
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (few, few))
        with ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(connect(server))
            wait_until(lambda: descriptors(server) >= few, "all descriptors to be used")
        response, _ = server.get(SNAPSHOT, {"Authorization": AUTHORIZATION})
        assert response.status == 200
