"""Clients that give up waiting while their creates are in the queue of a busy server."""

import json
import socket
import ssl
import threading
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support import balancers
from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.certificates import make_certificate
from tests.support.ec2_model import EC2Model
from tests.support.servers import LIMIT_SECONDS, gunicorn, wait_until

CLIENTS = 8
ONE_THREAD = ("--worker-class=gthread", "--threads=1", "--workers=1", "--keep-alive=60")
ESTABLISHED = "01"
"""State of a connection that neither end has closed (Linux, proc_net_tcp.txt)."""


class SlowListEC2(EC2Model):
    """Its first list of all snapshots ends when ``proceed`` is set."""

    def __init__(self):
        super().__init__()
        self.listing, self.proceed = threading.Event(), threading.Event()

    def __call__(self, request):
        if request.action == "DescribeSnapshots" and "Filter.1.Name" not in request.parameters:
            self.listing.set()
            self.proceed.wait(LIMIT_SECONDS)
            request.parameters.update({"SnapshotId.1": "snap-12345678"})
        return super().__call__(request)


def waiting_requests(port):
    """Count the open connections to a local port with a request that the server has not read."""
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues, *_ = line.split()
        unread = int(queues.split(":")[1], 16)
        count += local == f"0100007F:{port:04X}" and state == ESTABLISHED and unread > 100
    return count


def creates_in_log(server):
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line[:1] == "{"]
    return [line["status"] for line in lines if line.get("method") == "POST"]


@pytest.fixture(params=["http", "https", balancers.haproxy, balancers.nginx])
def front(request, tmp_path, programmed_ec2):
    """Run a server with one thread; give it and a function that connects to it."""
    with ExitStack() as stack:
        more = ()
        if request.param == "https":
            ca, key, certificate = make_certificate(tmp_path)
            more = (f"--certfile={certificate}", f"--keyfile={key}")
        server = stack.enter_context(gunicorn(tmp_path, programmed_ec2.url, *ONE_THREAD, *more))
        port = server.port
        if callable(request.param):
            folder = tmp_path / "balancer"
            folder.mkdir()
            balancer = stack.enter_context(request.param(folder, [port, port]))
            port = balancer.port

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


def send(connection, method, address, headers=""):
    connection.sendall(
        f"{method} {address} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\n"
        f"Connection: close\r\n{headers}Content-Length: 0\r\n\r\n".encode()
    )


@pytest.mark.parametrize("headers", ["", 'Idempotency-Key: "k"\r\n'], ids=["", "key"])
def test_queued_create_of_a_departed_client_is_not_sent(front, programmed_ec2, headers):
    ec2 = programmed_ec2.respond = SlowListEC2()
    slow = front.connect()
    impatient = [front.connect() for _ in range(CLIENTS)]
    send(slow, "GET", SNAPSHOTS)
    assert ec2.listing.wait(LIMIT_SECONDS)
    for connection in impatient:
        send(connection, "POST", f"{SNAPSHOTS}?volume_id=vol-12345678", headers)
    port = front.server.port
    wait_until(lambda: waiting_requests(port) == CLIENTS, "the creates in the queue")
    for connection in impatient:
        connection.close()
    wait_until(lambda: waiting_requests(port) == 0, "the server's end of the connections")
    ec2.proceed.set()
    # The only thread serves this one after them.
    front.connect().close()
    slow.close()
    assert "CreateSnapshot" not in ec2.actions
    assert set(creates_in_log(front.server)) <= {400}


def test_create_in_the_queue_of_a_waiting_client_is_sent(front, programmed_ec2):
    ec2 = programmed_ec2.respond = SlowListEC2()
    slow, patient = front.connect(), front.connect()
    send(slow, "GET", SNAPSHOTS)
    assert ec2.listing.wait(LIMIT_SECONDS)
    send(patient, "POST", f"{SNAPSHOTS}?volume_id=vol-12345678")
    wait_until(lambda: waiting_requests(front.server.port) == 1, "the create in the queue")
    ec2.proceed.set()
    with patient.makefile("rb") as response:
        assert b" 201 " in response.readline()
    slow.close()
