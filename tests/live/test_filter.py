"""The filter in front of an old server: real gunicorn, and a small real server behind it."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lxml import etree

from tests.support.callers import AUTHORIZATION
from tests.support.ec2_responses import created_response, snapshot_item, snapshots_page
from tests.support.responders import always
from tests.support.servers import BIN, running, wait_until

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


class OldServer(ThreadingHTTPServer):
    """Echoes what it is asked; ``/hold`` waits until it is released between two chunks."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.received = b""
        self.release = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _body(self):
        self.server.received = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.server.received += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            left = int(self.headers.get("Content-Length", 0))
            while left and (data := self.rfile.read1(left)):
                self.server.received += data
                left -= len(data)

    def _answer(self):
        self._body()
        self.server.requests.append(self)
        if self.path.startswith("/silent"):
            self.server.release.wait(10)
            return
        if self.path.startswith("/cut"):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"only this")
            self.close_connection = True
            return
        if self.path.startswith("/hints"):
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            self.server.release.wait(10)
        if self.path.startswith("/header"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: \x01b\r\nContent-Length: 0\r\n\r\n")
            return
        status = 302 if self.path.startswith("/redirect") else 299
        self.send_response(status, "Quite Fine")
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.send_header("Location", "/elsewhere")
        self.send_header("X-Hop", "x")
        self.send_header("Connection", "X-Hop")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command != "HEAD":
            self._chunk(b"first")
            if self.path.startswith("/hold"):
                self.server.release.wait(10)
            self._chunk(b"second")
            self._chunk(b"")

    def _chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)


@pytest.fixture(scope="module")
def old():
    server = OldServer()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def front(old, ec2_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filter")
    ini = folder / "pipeline.ini"
    ini.write_text(PIPELINE.format(ec2=ec2_server.url, old=old.url))
    command = [BIN / "gunicorn", "--paste", ini, "--bind", "127.0.0.1:0"]
    threads = ["--worker-class", "gthread", "--threads", "8"]
    with running(command + threads, folder / "log") as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(old):
    old.requests.clear()
    old.release.clear()
    yield
    old.release.set()


def test_snapshots_are_answered_by_ec2(front, old, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
    headers = {"Authorization": AUTHORIZATION}
    for address in (
        "/api/storage_snapshots",
        "/api/storage_snapshots/snap-12345678",
        "/api;driver=ec2/storage_snapshots",
        "/api;driver=ec2;provider=eu-west-1/storage_snapshots",
    ):
        response, body = front.get(address, headers)
        assert response.status == 200
        assert etree.fromstring(body).xpath("//@id")[0] == "snap-12345678"
    response, _ = front.get("/api/storage_snapshots/new", {"Accept": "text/html"})
    assert response.status == 200
    assert old.requests == []


def test_snapshots_are_created_in_ec2(front, old, programmed_ec2):
    programmed_ec2.respond = always(created_response(snapshot_item("snap-12345678")))
    response, _ = front.get(
        "/api/storage_snapshots?volume_id=vol-12345678",
        {"Authorization": AUTHORIZATION},
        method="POST",
    )
    assert response.status == 201
    assert old.requests == []


def test_method_that_snapshots_do_not_have_is_ours_to_refuse(front, old):
    response, _ = front.get("/api/storage_snapshots", method="PUT")
    assert response.status == 405
    assert old.requests == []


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
        ("GET", "/api/storage_snapshots/", {}),
        ("GET", "/api/storage_snapshots/a/b", {}),
        ("GET", "/api;driver=mock/storage_snapshots", {}),
        ("GET", "/api/storage_snapshots", {"X-Deltacloud-Driver": "openstack"}),
        ("GET", "/api;driver=mock/storage_snapshots", {"X-Deltacloud-Driver": "ec2"}),
        ("GET", "/a//b/../c?d=/../e", {}),
        ("GET", "//evil/api/storage_snapshots", {}),
        ("GET", "/caf%C3%A9?q=%FF", {}),
    ],
)
def test_everything_else_goes_to_the_old_server_as_it_came(front, old, method, address, headers):
    sent = {"Authorization": AUTHORIZATION, "Host": "cloud.example.org", "X-Any": "thing"}
    response, body = front.get(address, sent | headers, method=method)
    [request] = old.requests
    assert request.command == method
    assert request.requestline.split()[1] == address
    for name, value in (sent | headers).items():
        assert request.headers.get_all(name) == [value]
    assert (response.status, response.reason) == (299, "Quite Fine")
    assert body == b"firstsecond"


def test_answer_keeps_its_headers_but_those_of_the_hop(front, old):
    response, _ = front.get("/api")
    assert response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert response.headers["Location"] == "/elsewhere"
    assert response.headers["Via"] == "1.1 dcproxy"
    assert "X-Hop" not in response.headers


def test_request_loses_the_headers_of_the_hop_and_says_who_asks(front, old):
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
def test_body_is_passed_on_while_it_comes(front, old, framing):
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
        with client.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 299")
    assert old.received == first + second


def test_answer_is_passed_on_while_it_comes(front, old):
    connection = front.connect()
    connection.request("GET", "/hold")
    response = connection.getresponse()
    assert response.read(5) == b"first"
    old.release.set()
    assert response.read() == b"second"
    connection.close()


def test_answer_that_is_cut_is_reset_for_http_1_0(front, old):
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        client.sendall(b"GET /cut HTTP/1.0\r\nHost: h\r\n\r\n")
        with client.makefile("rb") as answer, pytest.raises(ConnectionResetError):
            answer.read()


def test_answer_that_is_cut_is_not_taken_for_whole(front, old):
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        client.sendall(b"GET /cut HTTP/1.1\r\nHost: h\r\n\r\n")
        with client.makefile("rb") as answer:
            received = answer.read()
    assert received.endswith(b"only this")
    assert b"Content-Length: 100" in received
    assert "Traceback" not in front.log.read_text()


def test_hints_before_an_answer_never_reach_another_client(front, old):
    assert front.get("/hints")[0].status == 502
    old.release.set()
    for _ in range(3):
        assert front.get("/api")[0].status == 299


def test_header_that_cannot_be_passed_on_is_502(front, old):
    assert front.get("/header")[0].status == 502
    assert "Traceback" not in front.log.read_text()


def test_client_that_breaks_off_its_body_is_400(front, old):
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        client.sendall(b"POST /api/instances HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 400")


def test_failure_has_the_headers_of_every_answer(front, old):
    response, _ = front.get("/header")
    assert response.headers["Cache-Control"] == "max-age=0, private, must-revalidate"
    assert response.headers["X-Deltacloud-Driver"] == "ec2"


def test_silent_server_is_502(front, old):
    response, body = front.get("/silent")
    assert response.status == 502
    assert "did not answer in time" in etree.fromstring(body).findtext("message")


def test_server_that_is_gone_is_502(ec2_server, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{unused.getsockname()[1]}"
        ini = tmp_path / "pipeline.ini"
        ini.write_text(PIPELINE.format(ec2=ec2_server.url, old=gone))
        command = [BIN / "gunicorn", "--paste", ini, "--bind", "127.0.0.1:0"]
        with running(command, tmp_path / "log") as front:
            response, body = front.get("/api?format=json")
            assert response.status == 502
            assert b"cannot be reached" in body
            assert "Traceback" not in front.log.read_text()
