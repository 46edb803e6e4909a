"""Malformed requests over raw sockets: a 4xx, and the next request is served."""

import socket

import pytest

from tests.support.callers import AUTHORIZATION, basic_authorization
from tests.support.ec2_responses import snapshots_page
from tests.support.responders import always

LINE = "GET /api HTTP/1.1\r\n"
HOST = "Host: localhost\r\n"
POST = f"POST /api/storage_snapshots HTTP/1.1\r\n{HOST}Authorization: {AUTHORIZATION}\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"


def status_of(server, text):
    """Send a request and nothing after it; give the status, or None where nothing comes back."""
    received = server.exchange(text.encode("latin-1"), is_all=True)
    return int(received.split()[1]) if received else None


@pytest.mark.parametrize(
    "text",
    [
        f"{LINE}{HOST}Host: evil.example.org\r\n\r\n",
        f"{LINE}Host: a b\r\n\r\n",
        f"{LINE}Host: <script>\r\n\r\n",
        f"{LINE}Host: a/b\r\n\r\n",
        f"{LINE}Host:\r\n\r\n",
        f"{LINE}Host: \xff\r\n\r\n",
        f"GET /api?{'x' * 10_000} HTTP/1.1\r\n{HOST}\r\n",
        f"GET /api/{'x' * 10_000} HTTP/1.1\r\n{HOST}\r\n",
        f"{LINE}{HOST}X-Long: {'x' * 100_000}\r\n\r\n",
        f"{LINE}{HOST}" + "X-Many: x\r\n" * 1000 + "\r\n",
        f"{LINE}{HOST}X-Nul: \x00\r\n\r\n",
        f"{LINE}{HOST}No colon\r\n\r\n",
        f"{LINE}{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        f"{LINE}{HOST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        f"{LINE}{HOST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        f"{LINE}{HOST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        f"{LINE}{HOST} folded: x\r\n\r\n",
        f"GET /api\r\nX: y HTTP/1.1\r\n{HOST}\r\n",
        "GET /api HTTP/9.9\r\n\r\n",
        f"{POST}{FORM}Content-Length: 1000001\r\n\r\n{'x' * 1000}",
        f"{POST}{FORM}Content-Length: -1\r\n\r\n",
        f"{POST}{FORM}Content-Length: 60000\r\n\r\n{'a=1&' * 15_000}",
        f"{POST}{FORM}Content-Length: 10\r\n\r\nname=%FF%00"[:-1],
        f"{POST}{FORM}Content-Length: 100\r\n\r\nvolume_id",
        f"{POST}{FORM}Content-Length: 100\r\n\r\nvolume_id=vol-12345678&name=cut",
        f"{POST}{FORM}Transfer-Encoding: chunked\r\n\r\nffffffffff\r\nx",
    ],
)
def test_malformed_request_is_4xx_and_the_next_request_is_served(server, programmed_ec2, text):
    status = status_of(server, text)
    # gunicorn answers 501 to a transfer coding that it does not know.
    assert status is None or 400 <= status < 500 or status == 501
    assert status_of(server, f"{LINE}{HOST}\r\n") == 200
    assert programmed_ec2.requests == []
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize(("version", "status"), [("1.0", 200), ("1.1", 400)])
def test_host_may_be_missing_in_http_1_0_only(server, version, status):
    assert status_of(server, f"GET /api HTTP/{version}\r\n\r\n") == status


def test_line_feed_in_credentials_is_400_over_http(server, programmed_ec2):
    """The application accepts it, but gunicorn passes on no header that contains one."""
    encoded = AUTHORIZATION.removeprefix("Basic ")
    for line_end in ("\n", "\r\n ", "\n\t"):
        folded = f"Authorization: Basic {encoded[:9]}{line_end}{encoded[9:]}\r\n"
        assert status_of(server, f"GET /api/realms HTTP/1.1\r\n{HOST}{folded}\r\n") == 400
    assert programmed_ec2.requests == []


def test_credentials_without_padding_are_accepted_over_http(server, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(""))
    encoded = basic_authorization("AKID:ab").rstrip("=")
    assert len(encoded.removeprefix("Basic ")) % 4 != 0
    for text in (encoded, f"{encoded[:-3]}  {encoded[-3:]}"):
        request = f"GET /api/storage_snapshots HTTP/1.1\r\n{HOST}Authorization: {text}\r\n\r\n"
        assert status_of(server, request) == 200
    assert [request.access_key_id for request in programmed_ec2.requests] == ["AKID"] * 2


def test_forwarded_headers_are_ignored(server):
    _, body = server.get(
        "/api",
        {
            "X-Forwarded-Host": "evil.example.org",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Prefix": "/evil",
            "Forwarded": "host=evil.example.org",
        },
    )
    assert b"evil" not in body


def test_slow_body_does_not_block_other_requests(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(f"{POST}{FORM}Content-Length: 100\r\n\r\nvolume".encode())
        for _ in range(5):
            assert status_of(server, f"{LINE}{HOST}\r\n") == 200


ANONYMOUS_POST = f"POST /api/storage_snapshots HTTP/1.1\r\n{HOST}{FORM}Content-Length: 100\r\n"


@pytest.mark.parametrize("sent", ["", "volume"])
@pytest.mark.parametrize("address", ["", "/snap-12345678", "/snap-12345678?_method=delete"])
@pytest.mark.parametrize("credentials", ["", "Authorization: Basic ?\r\n"])
def test_missing_credentials_are_refused_before_the_body(server, address, credentials, sent):
    head = ANONYMOUS_POST.replace(" HTTP", f"{address} HTTP") + credentials
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(f"{head}\r\n{sent}".encode())
        assert client.recv(12) == b"HTTP/1.1 401"


def test_refused_client_may_wait_before_its_body(server):
    head = f"{ANONYMOUS_POST}Expect: 100-continue\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head.encode())
        with client.makefile("rb") as response:
            assert b"HTTP/1.1 401" in response.read()
