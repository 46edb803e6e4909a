"""Creates of clients that have left or send no more, and of clients of a server that stops."""

import json
import os
import signal
import socket
import ssl
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import balancers
from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.certificates import make_certificate
from tests.support.ec2_model import EC2Model
from tests.support.servers import LIMIT_SECONDS, WORKER, children, gunicorn, wait_until

ESTABLISHED = "01"
"""State of a connection that neither end has closed (Linux, proc_net_tcp.txt)."""


class SlowListEC2(EC2Model):
    """Its first list ends when ``proceed`` is set."""

    def __init__(self):
        super().__init__()
        self.listing, self.proceed = threading.Event(), threading.Event()

    def __call__(self, request):
        if request.action == "DescribeSnapshots":
            self.listing.set()
            self.proceed.wait(LIMIT_SECONDS)
        return super().__call__(request)


@contextmanager
def stopped(server):
    """Let the worker run on at the end of the block."""
    [worker] = children(server.process.pid)
    os.kill(worker, signal.SIGSTOP)
    try:
        yield worker
    finally:
        os.kill(worker, signal.SIGCONT)


def unread_requests(port, states=(ESTABLISHED,)):
    """Count the connections to a local port with a request that the server has not read."""
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        unread = int(queues.split(":")[1], 16)
        count += local == f"0100007F:{port:04X}" and state in states and unread > 100
    return count


def creates_in_log(server):
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line[:1] == "{"]
    return [line["status"] for line in lines if line.get("method") == "POST"]


@pytest.fixture(params=["http", "https", balancers.haproxy, balancers.nginx])
def front(request, tmp_path, programmed_ec2):
    """Run a server; give it and a function that connects to it."""
    with ExitStack() as stack:
        more = ()
        if request.param == "https":
            ca, key, certificate = make_certificate(tmp_path)
            more = (f"--certfile={certificate}", f"--keyfile={key}")
        server = stack.enter_context(
            gunicorn(tmp_path, programmed_ec2.url, *WORKER, "--keep-alive=60", *more)
        )
        port = server.port
        if callable(request.param):
            folder = tmp_path / "balancer"
            folder.mkdir()
            port = stack.enter_context(request.param(folder, [port, port])).port

        def connect():
            connection = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_SECONDS)
            if request.param == "https":
                tls = ssl.create_default_context(cafile=ca)
                connection = tls.wrap_socket(connection, server_hostname="localhost")
            connection.sendall(b"GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n")
            response = b""
            while not response.endswith(b"</api>\n"):
                response += connection.recv(65536)
            return connection

        yield SimpleNamespace(server=server, connect=connect)


def create(headers="", version="1.1"):
    return (
        f"POST {SNAPSHOTS}?volume_id=vol-12345678 HTTP/{version}\r\nHost: localhost\r\n"
        f"Authorization: {AUTHORIZATION}\r\n{headers}Content-Length: 0\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("headers", ["", 'Idempotency-Key: "k"\r\n'], ids=["", "key"])
def test_create_of_a_departed_client_is_not_sent(front, programmed_ec2, headers):
    ec2 = programmed_ec2.respond = EC2Model()
    client = front.connect()
    port = front.server.port
    with stopped(front.server):
        client.sendall(create(headers))
        wait_until(lambda: unread_requests(port), "the create in the queue")
        client.close()
        wait_until(lambda: not unread_requests(port), "the server's end of the connection")
    wait_until(lambda: creates_in_log(front.server), "the log line of the create")
    assert "CreateSnapshot" not in ec2.actions
    assert creates_in_log(front.server) == [400]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_create_of_a_client_that_sends_no_more_is_served(tmp_path, programmed_ec2, version):
    programmed_ec2.respond = EC2Model()
    with gunicorn(tmp_path, programmed_ec2.url, *WORKER) as server:
        response = server.exchange(create("Connection: close\r\n", version), is_all=True)
    assert response.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").split()[1] == b"201"


def test_create_that_arrives_while_the_server_stops_is_served(tmp_path, programmed_ec2):
    programmed_ec2.respond = EC2Model()
    with gunicorn(tmp_path, programmed_ec2.url, *WORKER, "--keep-alive=60") as server:
        client = socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_SECONDS)
        with client, client.makefile("rb") as responses:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while responses.readline() != b"ok\n":
                pass
            with stopped(server) as worker:
                os.kill(worker, signal.SIGTERM)
                client.sendall(create())
                wait_until(lambda: unread_requests(server.port), "the create in the queue")
            assert b" 201 " in responses.readline()


def test_pipelined_create_in_progress_is_completed_when_the_server_stops(tmp_path, programmed_ec2):
    ec2 = programmed_ec2.respond = SlowListEC2()
    with gunicorn(tmp_path, programmed_ec2.url, *WORKER, "--keep-alive=60") as server:
        client = socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_SECONDS)
        with client, client.makefile("rb") as responses:
            key = 'Idempotency-Key: "k"\r\n'
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + create(key))
            while responses.readline() != b"ok\n":
                pass
            assert ec2.listing.wait(LIMIT_SECONDS)
            server.process.terminate()
            wait_until(lambda: not is_listening(server.port), "the port to close")
            threading.Event().wait(0.5)  # idle connections are closed each 0.1 s
            ec2.proceed.set()
            assert b" 201 " in responses.readline()


def is_listening(port):
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def test_idle_connections_are_closed_at_a_stop(tmp_path, programmed_ec2):
    with gunicorn(tmp_path, programmed_ec2.url, *WORKER, "--keep-alive=60") as server:
        client = socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_SECONDS)
        with client, client.makefile("rb") as responses:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while responses.readline() != b"ok\n":
                pass
            server.process.terminate()
            server.process.wait(5)
            assert responses.read() == b""
