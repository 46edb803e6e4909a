"""The filter in front of an old server."""

import socket

import pytest
from lxml import etree

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.ec2_responses import created_response, snapshot_item, snapshots_page
from tests.support.endpoints import refusing_endpoint
from tests.support.old_server import running_old_server
from tests.support.responders import always
from tests.support.servers import BIN, WORKER, running, wait_until

PIPELINE = """
[pipeline:main]
pipeline = dcproxy old-server

[filter:dcproxy]
use = egg:dcproxy
ec2_endpoint_url = {ec2}

[app:old-server]
use = egg:dcproxy#upstream
url = {old}
read_timeout = 1
"""


@pytest.fixture(scope="module")
def old():
    with running_old_server() as server:
        yield server


@pytest.fixture(scope="module")
def front(old, ec2_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filter")
    ini = folder / "pipeline.ini"
    ini.write_text(PIPELINE.format(ec2=ec2_server.url, old=old.url))
    command = [BIN / "gunicorn", "--paste", ini, "--bind", "127.0.0.1:0"]
    with running([*command, *WORKER], folder / "log") as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(old):
    old.requests.clear()
    old.release.clear()
    yield
    old.release.set()


def test_snapshot_requests_go_to_ec2(front, old, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
    headers = {"Authorization": AUTHORIZATION}
    for address in (
        SNAPSHOTS,
        SNAPSHOT,
        "/api;driver=ec2/storage_snapshots",
        "/api;driver=ec2;provider=eu-west-1/storage_snapshots",
        "/api;driver=EC2;provider=EU-WEST-1/storage_snapshots",
        f"{SNAPSHOTS}?api[driver]=Ec2",
        f"{SNAPSHOTS};driver=mock",
        "/api/storage%5fsnapshots",
        "http://cloud.example.org/api/storage_snapshots",
    ):
        response, body = front.get(address, headers)
        assert response.status == 200
        assert etree.fromstring(body).xpath("//@id")[0] == "snap-12345678"
    response, _ = front.get(f"{SNAPSHOTS}/new", {"Accept": "text/html"})
    assert response.status == 200
    assert old.requests == []


def test_driver_of_the_header_takes_precedence_over_the_query(front, old, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(""))
    headers = {"Authorization": AUTHORIZATION, "X-Deltacloud-Driver": "ec2"}
    assert front.get(f"{SNAPSHOTS}?api[driver]=mock", headers)[0].status == 200
    assert old.requests == []


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (f"{SNAPSHOTS}/", 404),
        (f"{SNAPSHOTS}/a/b", 404),
        (f"/{SNAPSHOTS}", 404),
        ("/api//storage_snapshots", 404),
        ("/api/./storage_snapshots", 404),
        ("/api/docs/../storage_snapshots", 404),
        ("/api;driver=ec2;driver=mock/storage_snapshots", 400),
    ],
)
def test_other_forms_of_snapshot_addresses_are_refused_by_the_filter(front, old, address, status):
    response, _ = front.get(address, {"Authorization": AUTHORIZATION})
    assert response.status == status
    assert response.headers["X-Deltacloud-Driver"] == "ec2"
    assert old.requests == []


def test_snapshots_are_created_in_ec2(front, old, programmed_ec2):
    programmed_ec2.respond = always(created_response(snapshot_item("snap-12345678")))
    response, _ = front.get(
        f"{SNAPSHOTS}?volume_id=vol-12345678", {"Authorization": AUTHORIZATION}, method="POST"
    )
    assert response.status == 201
    assert old.requests == []


def test_unsupported_method_on_snapshots_is_405_from_the_filter(front, old):
    response, _ = front.get(SNAPSHOTS, method="PUT")
    assert response.status == 405
    assert old.requests == []


@pytest.mark.parametrize("query", ["", "?volume_id=vol-12345678"])
def test_compressed_body_on_snapshots_is_501(front, programmed_ec2, query):
    form = b"volume_id=vol-12345678&name=nightly"
    head = (
        f"POST {SNAPSHOTS}{query} HTTP/1.1\r\nHost: h\r\nAuthorization: {AUTHORIZATION}\r\n"
        "Transfer-Encoding: gzip, chunked\r\n\r\n"
    ).encode()
    response = front.exchange(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(form), form))
    assert response.startswith(b"HTTP/1.1 501")
    assert programmed_ec2.requests == []


@pytest.mark.parametrize(
    ("method", "address", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/api", {}),
        ("GET", "/api/storage_volumes", {}),
        ("GET", "/api/realms/us-east-1a", {}),
        ("GET", "/api/drivers", {}),
        ("GET", "/api/instances/i-1?x=1&y=%20z", {}),
        ("DELETE", "/api/instances/i-1", {}),
        ("PUT", "/api/buckets/a/b%2Fc%20d", {}),
        ("GET", "/api/storage%255fsnapshots", {}),
        ("GET", "/api/Storage_Snapshots", {}),
        ("GET", f"{SNAPSHOTS}/../instances", {}),
        ("GET", "/api;driver=mock;driver=ec2/storage_snapshots", {}),
        ("GET", f"{SNAPSHOTS}?x=1;api[driver]=mock", {}),
        ("GET", "/api;driver=mock/storage_snapshots", {}),
        ("GET", SNAPSHOTS, {"X-Deltacloud-Driver": "openstack"}),
        ("GET", "/api;driver=mock/storage_snapshots", {"X-Deltacloud-Driver": "ec2"}),
        ("GET", f"{SNAPSHOTS}?api%5Bdriver%5D=mock&x=%E9", {}),
        ("GET", f"{SNAPSHOTS}?api%5Bdriver%5D=ec2", {"X-Deltacloud-Driver": "mock"}),
        ("GET", "/api;driver=mock/storage_snapshots?api%5Bdriver%5D=ec2", {}),
        ("GET", "/api/docs/storage_snapshots", {}),
        ("GET", "/a//b/../c?d=/../e", {}),
        ("GET", "//evil/api/storage_snapshots", {}),
        ("GET", "/caf%C3%A9?q=%FF", {}),
        ("GET", f"{SNAPSHOTS}?api[driver]=mock", {}),
    ],
)
def test_other_requests_reach_the_old_server_unchanged(front, old, method, address, headers):
    sent = {"Authorization": AUTHORIZATION, "Host": "cloud.example.org", "X-Any": "thing"}
    response, body = front.get(address, sent | headers, method=method)
    [request] = old.requests
    assert request.command == method
    assert request.requestline.split()[1] == address
    for name, value in (sent | headers).items():
        assert request.headers.get_all(name) == [value]
    assert (response.status, response.reason) == (299, "Quite Fine")
    assert body == b"firstsecond"


def test_collections_of_the_option_go_to_ec2(ec2_server, old, tmp_path):
    ini = tmp_path / "pipeline.ini"
    option = "use = egg:dcproxy\ncollections = storage_snapshots, storage_volumes\n"
    text = PIPELINE.format(ec2=ec2_server.url, old=old.url)
    ini.write_text(text.replace("use = egg:dcproxy\n", option))
    command = [BIN / "gunicorn", "--paste", ini, "--bind", "127.0.0.1:0"]
    with running(command, tmp_path / "log") as front:
        for address in ("/api/storage_volumes", "/api/storage_volumes/vol-12345678", SNAPSHOTS):
            assert front.get(address)[0].status == 401
        assert old.requests == []
        for address in ("/api", "/api/realms", "/api;driver=mock/storage_volumes"):
            assert front.get(address)[0].status == 299


def test_response_loses_only_its_hop_by_hop_headers(front, old):
    response, _ = front.get("/api")
    assert response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert response.headers["Location"] == "/elsewhere"
    assert response.headers["Via"] == "1.1 dcproxy"
    assert "X-Hop" not in response.headers


def test_request_loses_hop_by_hop_headers_and_gains_forwarding_headers(front, old):
    front.get(
        "/api",
        {
            "Connection": "close, X-Hop",
            "X-Hop": "x",
            "Keep-Alive": "timeout=5",
            "Proxy-Authorization": "Basic x",
            "Te": "trailers",
            "X-Forwarded-For": "192.0.2.1",
            "Via": "1.1 balancer",
        },
    )
    [request] = old.requests
    for name in ("X-Hop", "Keep-Alive", "Proxy-Authorization", "Te"):
        assert name not in request.headers
    assert request.headers["X-Forwarded-For"] == "192.0.2.1, 127.0.0.1"
    assert request.headers["Via"] == "1.1 balancer, 1.1 dcproxy"
    assert "User-Agent" not in request.headers


def test_redirect_is_passed_on(front, old):
    response, _ = front.get("/redirect")
    assert (response.status, response.headers["Location"]) == (302, "/elsewhere")
    assert len(old.requests) == 1


def test_head_is_passed_on(front, old):
    response, body = front.get("/api", method="HEAD")
    assert (response.status, body) == (299, b"")
    assert old.requests[0].command == "HEAD"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_request_body_is_streamed(front, old, framing):
    first, second = b"x" * 70_000, b"y" * 70_000
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        head = b"POST /api/instances HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
        if framing == "length":
            client.sendall(head + b"Content-Length: 140000\r\n\r\n" + first)
            end = second
        else:
            client.sendall(
                head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(first), first)
            )
            end = b"%x\r\n%s\r\n0\r\n\r\n" % (len(second), second)
        wait_until(lambda: len(old.received) > 10_000, "the first half of the body")
        client.sendall(end)
        with client.makefile("rb") as response:
            assert response.read().startswith(b"HTTP/1.1 299")
    assert old.received == first + second


def test_response_body_is_streamed(front, old):
    connection = front.connect()
    connection.request("GET", "/hold")
    response = connection.getresponse()
    assert response.read(5) == b"first"
    old.release.set()
    assert response.read() == b"second"
    connection.close()


def test_truncated_response_is_reset_for_http_1_0(front, old):
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        client.sendall(b"GET /cut HTTP/1.0\r\nHost: h\r\n\r\n")
        with client.makefile("rb") as response, pytest.raises(ConnectionResetError):
            response.read()


def test_truncated_response_stays_incomplete_for_http_1_1(front, old):
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        client.sendall(b"GET /cut HTTP/1.1\r\nHost: h\r\n\r\n")
        with client.makefile("rb") as response:
            received = response.read()
    assert received.endswith(b"only this")
    assert b"Content-Length: 100" in received
    assert "Traceback" not in front.log.read_text()


def test_informational_response_never_reaches_another_client(front, old):
    assert front.get("/hints")[0].status == 502
    old.release.set()
    for _ in range(3):
        assert front.get("/api")[0].status == 299


def test_invalid_response_header_is_502(front, old):
    assert front.get("/header")[0].status == 502
    assert "Traceback" not in front.log.read_text()


def test_truncated_request_body_is_400(front, old):
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        client.sendall(b"POST /api/instances HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as response:
            assert response.read().startswith(b"HTTP/1.1 400")


def test_filter_error_has_the_common_headers(front, old):
    response, _ = front.get("/header")
    assert response.headers["Cache-Control"] == "max-age=0, private, must-revalidate"
    assert response.headers["X-Deltacloud-Driver"] == "ec2"


def test_read_timeout_of_the_old_server_is_502(front, old):
    response, body = front.get("/silent")
    assert response.status == 502
    assert "did not respond in time" in etree.fromstring(body).findtext("message")


def test_unreachable_old_server_is_502(ec2_server, tmp_path):
    with refusing_endpoint() as gone:
        ini = tmp_path / "pipeline.ini"
        ini.write_text(PIPELINE.format(ec2=ec2_server.url, old=gone))
        command = [BIN / "gunicorn", "--paste", ini, "--bind", "127.0.0.1:0"]
        with running(command, tmp_path / "log") as front:
            response, body = front.get("/api?format=json")
            assert response.status == 502
            assert b"cannot be reached" in body
            assert "Traceback" not in front.log.read_text()
