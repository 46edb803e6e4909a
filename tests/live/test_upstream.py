"""The reverse proxy to the old server: what it sends byte for byte, and malformed responses."""

import os
import select
import socket
import ssl
from contextlib import suppress

import pytest
from lxml import etree
from webob import Request

from dcproxy.app import upstream_factory
from tests.support.certificates import make_certificate
from tests.support.old_server import running_raw_old_server
from tests.support.servers import BIN, WORKER, running, wait_until

INI = """
[app:main]
use = egg:dcproxy#upstream
url = {old}
read_timeout = 5

[app:below]
use = egg:dcproxy#upstream
url = {old}/old
"""
QUERY = "password=secret"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(scope="module")
def old():
    with running_raw_old_server() as server:
        yield server


@pytest.fixture(scope="module")
def ini(old, tmp_path_factory):
    ini = tmp_path_factory.mktemp("upstream") / "upstream.ini"
    ini.write_text(INI.format(old=old.url))
    return ini


@pytest.fixture(scope="module")
def front(ini):
    command = [BIN / "gunicorn", "--paste", ini, "--bind", "127.0.0.1:0"]
    with running([*command, *WORKER], ini.with_suffix(".log")) as server:
        yield server


@pytest.fixture(autouse=True)
def fresh(old):
    old.heads.clear()
    old.response = EMPTY


def send(front, *lines, body=b"", version="1.1"):
    request_line, *headers = lines
    head = [f"{request_line} HTTP/{version}", "Host: cloud.example.org", "Connection: close"]
    return front.exchange("\r\n".join([*head, *headers, "", ""]).encode("latin-1") + body)


# The request


@pytest.mark.parametrize(
    "target",
    [
        "/api/instances?filter=a|b",
        "/api/instances?x=%zz&y=100%",
        "/api/buckets/a%2fb/c%C3%a9",
        "//api///instances//",
        "/api;driver=mock;x/instances;a=b",
        "/api/./a/../instances/",
        "/api?api[driver]=mock&q={a}\"<>^`\\'",
        "/api/instances??a?b",
        "/a#b",
        "/:80/@x",
    ],
)
def test_target_is_passed_on_byte_for_byte(front, old, target):
    assert send(front, f"GET {target}").startswith(b"HTTP/1.1 200")
    assert old.target == target


@pytest.mark.parametrize(
    ("target", "passed_on"),
    [
        ("http://cloud.example.org/api//x?y=%zz|#z", "/api//x?y=%zz|#z"),
        ("http://cloud.example.org//api", "//api"),
        ("HTTP://user:word@cloud.example.org:80?x", "/?x"),
        ("http://cloud.example.org", "/"),
    ],
)
def test_url_as_target_is_passed_on_without_its_host(front, old, target, passed_on):
    assert send(front, f"GET {target}").startswith(b"HTTP/1.1 200")
    assert old.target == passed_on


def test_asterisk_of_options_is_passed_on(front, old):
    assert send(front, "OPTIONS *").startswith(b"HTTP/1.1 200")
    assert old.target == "*"


@pytest.mark.parametrize("target", ["cloud.example.org:80", "/api"])
def test_connect_is_501(front, old, target):
    assert send(front, f"CONNECT {target}").startswith(b"HTTP/1.1 501")
    assert old.heads == []


@pytest.mark.parametrize("coding", ["gzip, chunked", "deflate,chunked", "identity, chunked"])
def test_transfer_coding_other_than_chunked_is_501(front, old, coding):
    response = send(
        front, "POST /api/instances", f"Transfer-Encoding: {coding}", body=b"3\r\na=b\r\n0\r\n\r\n"
    )
    assert response.startswith(b"HTTP/1.1 501")
    assert old.heads == []


def test_two_transfer_codings_are_501(front, old):
    codings = ("Transfer-Encoding: gzip", "Transfer-Encoding: chunked")
    response = send(front, "POST /api/instances", *codings, body=b"3\r\na=b\r\n0\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 501")
    assert old.heads == []


@pytest.mark.parametrize("body", [b"3\r\na=", b"zz\r\na=b\r\n", b"3\r\na=b--0\r\n\r\n"])
def test_malformed_chunked_request_body_is_400(front, old, body):
    request = b"POST /api HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    assert front.exchange(request, is_all=True).startswith(b"HTTP/1.1 400")
    wait_until(lambda: old.heads, "the old server to have seen the request end")


def response_without_gunicorn(old, environ):
    app = upstream_factory({}, url=old.url)
    return Request.blank("/api", environ).get_response(app)


@pytest.mark.parametrize("name", ["RAW_URI", "REQUEST_URI"])
@pytest.mark.parametrize("target", ["/a b", "/a\r\nX-A: b", "/a\x00", "/a\t", "/caf\xe9", "/\x7f"])
def test_target_that_would_end_early_is_400(old, name, target):
    assert response_without_gunicorn(old, {name: target}).status_code == 400
    assert old.heads == []


def test_target_is_put_together_where_the_server_does_not_hand_it_over(old):
    environ = {"SCRIPT_NAME": "/x", "PATH_INFO": "/a b/%\xc3\xa9;c=d", "QUERY_STRING": "e=%zz"}
    assert response_without_gunicorn(old, environ).status_code == 200
    assert old.target == "/x/a%20b/%25%C3%A9;c=d?e=%zz"


def test_query_outside_ascii_is_400(old):
    assert response_without_gunicorn(old, {"QUERY_STRING": "caf\xe9"}).status_code == 400
    assert old.heads == []


def test_request_without_host_gets_that_of_the_old_server(front, old):
    front.exchange(b"GET /api HTTP/1.0\r\n\r\n")
    [head] = old.heads
    assert f"\r\nHost: {old.url.removeprefix('http://')}\r\n".encode() in head


@pytest.mark.parametrize("value", ["caf\xe9", "", "a\tb  c", '"x",\xa0'])
def test_header_is_passed_on_byte_for_byte(front, old, value):
    send(front, "GET /api", f"X-Name: {value}")
    [head] = old.heads
    assert f"\r\nX-Name: {value}\r\n".encode("latin-1") in head


# The response


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"hello",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 -200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 O\x7fK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: \x01b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\rX-B: c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX(A): b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"5" * 5000 + b"\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 300_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\r\n",
    ],
)
def test_malformed_response_is_502(front, old, response):
    old.response = response
    log_before = len(front.log.read_text())
    received = send(front, f"GET /api?{QUERY}")
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 502")
    message = etree.fromstring(body).findtext("message")
    assert "The server behind this one sent a response that cannot be passed on" in message
    logged = front.log.read_text()[log_before:]
    assert f"the server at {old.url}: RemoteProtocolError" in logged
    assert "Traceback" not in logged
    assert QUERY not in logged


@pytest.mark.parametrize(
    ("response", "status_line"),
    [
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 "),
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 "),
        (b"HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 799 Odd"),
        (b"HTTP/1.1 200 caf\xe9\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 caf\xe9"),
    ],
)
def test_odd_status_line_is_passed_on(front, old, response, status_line):
    old.response = response
    assert send(front, "GET /api").partition(b"\r\n")[0] == status_line


def test_interim_response_is_skipped(front, old):
    old.response = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + EMPTY
    received = send(front, "GET /api")
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Link" not in received


def test_repeated_equal_lengths_are_passed_on_once(front, old):
    old.response = b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello"
    received = send(front, "GET /api")
    assert received.count(b"Content-Length: 5\r\n") == 1
    assert received.endswith(b"\r\n\r\nhello")


def test_length_of_a_chunked_response_is_dropped(front, old):
    old.response = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n"
    )
    received = send(front, "GET /api")
    assert b"Content-Length" not in received
    assert received.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


def test_body_until_the_end_of_the_connection_is_passed_on(front, old):
    old.response = b"HTTP/1.0 200 OK\r\n\r\nhello"
    assert send(front, "GET /api").endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


def test_body_of_a_response_to_head_is_ignored(front, old):
    old.response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    received = send(front, "HEAD /api")
    assert received.startswith(b"HTTP/1.1 200")
    assert b"\r\nContent-Length: 5\r\n" in received
    assert received.endswith(b"\r\n\r\n")


BIG = b"x" * 1_000_000
BROKEN_BODIES = {
    "shorter than announced": b"Content-Length: 1000001\r\n\r\n" + BIG,
    "longer than announced": b"Content-Length: 999999\r\n\r\n" + BIG,
    "chunks without an end": b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n" + BIG + b"\r\n",
    "shorter chunk": b"Transfer-Encoding: chunked\r\n\r\nf4241\r\n" + BIG + b"\r\n0\r\n\r\n",
    "longer chunk": b"Transfer-Encoding: chunked\r\n\r\nf423e\r\n" + BIG + b"0\r\n\r\n",
    "size that is no number": b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n" + BIG + b"\r\n-1\r\n",
    "bytes after the last chunk": (
        b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n" + BIG + b"\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n"
    ),
}


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_broken_body_is_never_a_complete_response(front, old, body):
    old.response = b"HTTP/1.1 200 OK\r\n" + body
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as client:
        client.sendall(b"GET /api HTTP/1.1\r\nHost: h\r\n\r\n")
        with client.makefile("rb") as response:
            received = response.read()
    head, _, received_body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    if b"Content-Length" in head:
        announced = int(body.split(b"\r\n")[0].split()[1])
        assert len(received_body) < announced
    else:
        assert not received_body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("body", BROKEN_BODIES.values(), ids=BROKEN_BODIES)
def test_broken_body_resets_the_connection_of_http_1_0(front, old, body):
    old.response = b"HTTP/1.1 200 OK\r\n" + body
    with pytest.raises(ConnectionResetError):
        send(front, "GET /api", version="1.0")


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 6\r\n\r\n",
        b"Content-Length: 4\r\n\r\nhello",
        b"Content-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_small_body_that_is_broken_is_502(front, old, body):
    old.response = b"HTTP/1.1 200 OK\r\n" + body
    assert send(front, "GET /api").startswith(b"HTTP/1.1 502")


def test_response_before_the_end_of_the_request_is_passed_on(front, old):
    old.response = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as client:
        client.sendall(b"POST /api HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
        with suppress(OSError):
            while not select.select([client], [], [], 0)[0]:
                client.sendall(b"x" * 10_000)
        assert client.recv(1000).startswith(b"HTTP/1.1 413")


def test_prefix_of_the_url_precedes_the_target(ini, old, tmp_path):
    command = [BIN / "gunicorn", "--paste", f"{ini}#below", "--bind", "127.0.0.1:0"]
    with running(command, tmp_path / "log") as front:
        assert send(front, "GET //api?%zz").startswith(b"HTTP/1.1 200")
    assert old.target == "/old//api?%zz"


@pytest.mark.parametrize(("is_trusted", "status"), [(True, 200), (False, 502)])
def test_certificate_of_the_old_server_is_verified(tmp_path, is_trusted, status):
    ca, key, certificate = make_certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    env = dict(os.environ, SSL_CERT_FILE=str(ca)) if is_trusted else None
    with running_raw_old_server(tls) as old:
        old.response = EMPTY
        ini = tmp_path / "upstream.ini"
        ini.write_text(INI.format(old=old.url.replace("http://", "https://")))
        command = [BIN / "gunicorn", "--paste", ini, "--bind", "127.0.0.1:0"]
        with running(command, tmp_path / "log", env=env) as front:
            assert front.get("/api")[0].status == status
        assert len(old.heads) == is_trusted
