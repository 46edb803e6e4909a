"""The balancers of ``deploy/``: attacks, tricks with paths and headers, and their own errors.

Attackers have addresses of their own: the balancers limit each address.
"""

import socket
from contextlib import suppress
from urllib.request import urlopen

import pytest
from lxml import etree

from tests.support import balancers
from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.balancers import replicas
from tests.support.callers import AUTHORIZATION, CALLER
from tests.support.ec2_responses import snapshot_item, snapshots_page
from tests.support.ec2_server import EC2Server
from tests.support.responders import always
from tests.support.servers import LIMIT_SECONDS, free_port, wait_until

BALANCERS = [balancers.haproxy, balancers.nginx]
HALF_HEAD = b"GET /api HTTP/1.1\r\nHost: localhost\r\nX-Half:"
HALF_BODY = (
    f"POST {SNAPSHOTS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {AUTHORIZATION}\r\n"
    "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nvolume_id="
).encode()
HALF_HANDSHAKE = b"\x16\x03\x01\x02\x00\x01"
LIMIT_PER_ADDRESS = 100

OPERATIONAL_PATHS = ["/metrics", "/healthz", "/readyz"]
TRICKS = [
    "{path}",
    "{path}?x=1",
    "{path};x=1",
    "{path}/",
    "/{path}",
    "/.{path}",
    "/x/..{path}",
    "/api/..{path}",
    "/api/%2e%2e{path}",
    "/api;/..{path}",
    "/api%2f..{path}",
    "http://localhost{path}",
    "http://localhost/api/..{path}",
]


@pytest.fixture(scope="module", params=BALANCERS)
def balanced(request, tmp_path_factory):
    """Give a balancer in front of two replicas, and their EC2.

    The replicas have no address of their own for their operational endpoints, as by default.
    """
    folder = tmp_path_factory.mktemp("balanced")
    with (
        EC2Server() as server,
        replicas(folder, server.url, server.url) as both,
        request.param(folder, [replica.port for replica in both]) as front,
    ):
        yield front, server


def exchange(front, line, *headers):
    """Send a request of this line; give the status and the body."""
    head = "\r\n".join([line, "Host: localhost", "Connection: close", *headers, "", ""])
    response = front.exchange(head.encode())
    return int(response.split()[1]), response.partition(b"\r\n\r\n")[2]


def percent_encoded(path):
    return path.replace("e", "%65")


@pytest.mark.parametrize("path", OPERATIONAL_PATHS)
def test_no_path_leads_to_an_operational_endpoint(balanced, path):
    front, _ = balanced
    paths = [trick.format(path=text) for trick in TRICKS for text in (path, percent_encoded(path))]
    statuses = {each: exchange(front, f"GET {each} HTTP/1.1")[0] for each in paths}
    assert {each: status for each, status in statuses.items() if status not in (400, 404)} == {}


@pytest.mark.parametrize("path", OPERATIONAL_PATHS)
@pytest.mark.parametrize("header", ["SCRIPT_NAME", "Script_Name", "SCRIPT-NAME"])
def test_header_script_name_opens_no_operational_endpoint(balanced, path, header):
    front, _ = balanced
    assert exchange(front, f"GET /x{path} HTTP/1.1", f"{header}: /x")[0] == 404
    assert exchange(front, f"GET /api{path} HTTP/1.1", f"{header}: /api")[0] == 404


@pytest.mark.parametrize(
    "header",
    [
        "SCRIPT_NAME: /x",
        "SCRIPT-NAME: /api",
        "PATH_INFO: /metrics",
        "Path-Info: /metrics",
        "X_Forwarded_Host: evil.example.org",
        "X-Forwarded-Ssl: on",
        "X-Forwarded-Protocol: ssl",
        "X-Forwarded-Prefix: /evil",
        "Forwarded: host=evil.example.org;proto=https",
    ],
)
def test_header_of_the_client_changes_no_link(balanced, header):
    front, _ = balanced
    status, body = exchange(front, "GET /api HTTP/1.1", header)
    links = etree.fromstring(body).xpath("link/@href")
    assert status == 200
    assert links
    assert all(link.startswith("http://localhost/api/") for link in links)


@pytest.mark.parametrize("address", ["/", "/api", "/api/", "/api;driver=ec2/drivers", "/%61pi"])
def test_addresses_of_dcproxy_are_passed_on(balanced, address):
    front, _ = balanced
    assert exchange(front, f"GET {address} HTTP/1.1")[0] in (200, 301)


def test_errors_of_dcproxy_are_passed_on_unchanged(balanced):
    front, server = balanced
    server.program()
    response, body = front.get(f"{SNAPSHOTS}/snap-1?format=json", {"Authorization": AUTHORIZATION})
    assert (response.status, body[:1]) == (404, b"{")


def assert_is_error(response, body, status):
    assert response.status == status
    assert response.headers["Content-Type"] == "application/xml"
    assert body.startswith(f"<error status='{status}'".encode())
    error = etree.fromstring(body)
    assert error.findtext("code") == str(status)
    assert error.findtext("message")


def test_errors_of_the_balancer_begin_with_error(balanced):
    front, _ = balanced
    assert_is_error(*front.get("/elsewhere"), 404)


MALFORMED = {
    "path above the root": (b"GET /../api/drivers/x HTTP/1.1\r\nHost: h", True),
    "null in the path": (b"GET /api/drivers/x%00 HTTP/1.1\r\nHost: h", True),
    "no host": (b"GET /api HTTP/1.1", True),
    # HAProxy has a text of its own for these.
    "header without a name": (b"GET /api HTTP/1.1\r\nHost: h\r\n: x", False),
    "long header": (b"GET /api HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 100_000, False),
    "long target": (b"GET /api?x=" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: h", False),
}


@pytest.mark.parametrize(("head", "is_document"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_request_is_an_error(balanced, head, is_document):
    front, _ = balanced
    response = front.exchange(head + b"\r\nConnection: close\r\n\r\n")
    assert int(response.split()[1]) in (400, 404)
    assert b"\r\n\r\n<error status='40" in response or not is_document


def test_request_log_has_neither_queries_nor_keys(balanced):
    front, server = balanced
    server.program()
    query = "name=of-the-query"
    headers = {"Authorization": AUTHORIZATION, "X-Request-Id": "request-of-the-log"}
    front.get(f"{SNAPSHOTS}?{query}", headers)
    front.get(f"/elsewhere?{query}", headers)
    head = f"GET /api?{query} HTTP/1.1\r\nAuthorization: {AUTHORIZATION}\r\n: x\r\n\r\n"
    front.exchange(head.encode())
    front.get(f"{SNAPSHOT}?{query}", headers)
    wait_until(lambda: SNAPSHOT in front.request_log.read_text(), "the last request in the log")
    written = "".join(
        path.read_text() for path in front.request_log.parent.glob("*.log") if path.is_file()
    )
    [line] = [line for line in written.splitlines() if line.endswith(f"GET {SNAPSHOTS}")]
    assert "127.0.0.1" in line
    assert "request-of-the-log" in line.split()
    for secret in ("of-the-query", *CALLER, AUTHORIZATION.split()[1]):
        assert secret not in written


def test_failed_request_is_logged_without_its_query(balancer_of_nothing):
    front = balancer_of_nothing
    assert front.get("/api?name=of-the-query")[0].status == 502
    wait_until(lambda: "GET /api\n" in front.request_log.read_text(), "the request in the log")
    lines = front.request_log.read_text()
    assert " 502 " in lines
    assert "of-the-query" not in lines + front.log.read_text()


@pytest.fixture(params=BALANCERS)
def balancer_of_nothing(request, tmp_path):
    with request.param(tmp_path, [free_port(), free_port()]) as front:
        yield front


@pytest.mark.parametrize(
    ("balancer", "paths"),
    [(balancers.haproxy, ["/stats", "/metrics"]), (balancers.nginx, ["/status"])],
)
def test_statistics_are_at_an_address_of_their_own(balancer, paths, tmp_path):
    with balancer(tmp_path, [free_port(), free_port()]) as front:
        for path in paths:
            assert front.get(path)[0].status == 404
            url = f"http://127.0.0.1:{front.statistics_port}{path}"
            with urlopen(url, timeout=LIMIT_SECONDS) as response:
                assert response.status == 200


def test_unreachable_replicas_are_a_502_document(balancer_of_nothing):
    assert_is_error(*balancer_of_nothing.get("/api"), 502)


@pytest.mark.parametrize(
    ("balancer", "time_limit"),
    [
        (balancers.haproxy, ("timeout server 60s", "timeout server 500ms")),
        (balancers.nginx, ("proxy_read_timeout 60s", "proxy_read_timeout 500ms")),
    ],
)
def test_silent_replicas_are_a_502_document(balancer, time_limit, tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = [listener.getsockname()[1] for listener in (one, two)]
        with balancer(tmp_path, ports, replace=[time_limit]) as front:
            assert_is_error(*front.get("/api"), 502)


def connect_from(address, port):
    return socket.create_connection(
        ("127.0.0.1", port), timeout=LIMIT_SECONDS, source_address=(address, 0)
    )


class Attackers:
    """Open connections, and keep them open until the end of the block."""

    def __init__(self, front):
        self._front = front
        self.connections = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.connections:
            connection.close()

    def open(self, count, request, by_tls=False, addresses=("127.0.0.2",)):
        """Open ``count`` connections from each address, each with the begin of a request."""
        port = self._front.tls_port if by_tls else self._front.port
        for address in addresses:
            for _ in range(count):
                # The balancer refuses connections above its limit.
                with suppress(ConnectionError):
                    self.connections.append(connect_from(address, port))
                    self.connections[-1].sendall(request)


@pytest.mark.parametrize("addresses", [["127.0.0.2"], [f"127.0.0.{n}" for n in range(2, 8)]])
def test_incomplete_requests_do_not_hinder_others(balanced, addresses):
    front, server = balanced
    server.program().respond = always(snapshots_page(snapshot_item("snap-12345678")))
    share = len(addresses)
    with Attackers(front) as attackers:
        attackers.open(200 // share, b"", addresses=addresses)
        attackers.open(100 // share, HALF_HEAD, addresses=addresses)
        attackers.open(100 // share, HALF_BODY, addresses=addresses)
        attackers.open(50 // share, HALF_HANDSHAKE, by_tls=True, addresses=addresses)
        for _ in range(10):
            response, body = front.get(SNAPSHOT, {"Authorization": AUTHORIZATION})
            assert response.status == 200, body


def test_requests_of_one_address_are_limited(balanced):
    front, _ = balanced

    def is_refused(address):
        try:
            with connect_from(address, front.port) as connection:
                connection.sendall(b"GET /api HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                received = connection.makefile("rb").read()
        except ConnectionError:
            return True
        return not received or received.split(b"\r\n\r\n")[-1].startswith(b"<error status='502'")

    with Attackers(front) as attackers:
        attackers.open(LIMIT_PER_ADDRESS, HALF_BODY, addresses=["127.0.0.9"])

        def is_limited():
            attackers.open(1, HALF_BODY, addresses=["127.0.0.9"])
            return is_refused("127.0.0.9")

        wait_until(is_limited, "the address to be limited")
        assert not is_refused("127.0.0.10")
    wait_until(lambda: not is_refused("127.0.0.9"), "the limit to end")


@pytest.mark.parametrize(
    ("balancer", "time_limits"),
    [
        (
            balancers.haproxy,
            [
                ("timeout http-request 10s", "timeout http-request 500ms"),
                ("timeout client 60s", "timeout client 500ms"),
            ],
        ),
        (
            balancers.nginx,
            [
                ("client_header_timeout 10s", "client_header_timeout 500ms"),
                ("client_body_timeout 10s", "client_body_timeout 500ms"),
            ],
        ),
    ],
)
def test_incomplete_requests_end_at_the_time_limit(balancer, time_limits, tmp_path):
    with (
        balancer(tmp_path, [free_port(), free_port()], replace=time_limits) as front,
        Attackers(front) as attackers,
    ):
        for request in (b"", HALF_HEAD, HALF_BODY):
            attackers.open(1, request)
        attackers.open(1, HALF_HANDSHAKE, by_tls=True)
        for connection in attackers.connections:
            with suppress(ConnectionResetError), connection.makefile("rb") as response:
                assert b"HTTP/1.1 200" not in response.read()


@pytest.mark.parametrize("balancer", BALANCERS)
def test_replica_receives_complete_requests_only(balancer, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as replica:
        replica.settimeout(LIMIT_SECONDS)
        port = replica.getsockname()[1]
        with balancer(tmp_path, [port, port]) as front, Attackers(front) as attackers:
            attackers.open(20, HALF_BODY)
            attackers.open(1, b"GET /api HTTP/1.1\r\nHost: complete\r\n\r\n")
            received = b""
            while not received:
                # A health check of HAProxy sends nothing.
                connection, _ = replica.accept()
                with connection:
                    connection.settimeout(LIMIT_SECONDS)
                    received = connection.recv(1000)
    assert received.startswith(b"GET /api ")
