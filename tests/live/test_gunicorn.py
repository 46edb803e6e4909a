"""gunicorn with proxy.ini, over raw sockets: the exchanges of the API page."""

import re
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from lxml import etree

from tests.support import instant_ec2
from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.ec2_model import EC2Model
from tests.support.ec2_responses import (
    EC2Response,
    created_response,
    deleted_response,
    error_response,
    snapshot_item,
    snapshots_page,
)
from tests.support.launcher import ANEW
from tests.support.responders import always, endless_pages, second_page_fails, two_pages
from tests.support.servers import LIMIT_SECONDS, NOWHERE, WORKER, gunicorn, wait_until


@pytest.fixture(scope="module")
def server(ec2_server, tmp_path_factory):
    """Run the server of the other modules, but with an import of everything after its fork."""
    folder = tmp_path_factory.mktemp("gunicorn")
    with gunicorn(folder, ec2_server.url, *WORKER, prefix=ANEW) as server:
        yield server


# The headers that the clients of the API page sent.
HEAD = (
    f"Authorization: {AUTHORIZATION}\r\n"
    "User-Agent: curl/7.20.1 (i386-redhat-linux-gnu)\r\n"
    "Host: localhost:3001\r\n"
    "Accept: */*\r\n"
)


def exchange(server, request_line, more="", body=""):
    """Send a request of the API page; give status line, headers and body of the response."""
    text = f"{request_line}\r\n{HEAD}{more}Connection: close\r\n\r\n{body}"
    head, _, body = server.exchange(text.encode()).partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


def elements(document):
    """Flatten a document to tuples, for comparison element by element."""
    root = etree.fromstring(document)
    return [
        (element.tag, dict(element.attrib), (element.text or "").strip()) for element in root.iter()
    ]


def snapshot_elements(id, volume_id, created_at):
    """Give the elements of a snapshot in the documents of the API page."""
    base = "http://localhost:3001/api"
    return [
        ("storage_snapshot", {"href": f"{base}/storage_snapshots/{id}", "id": id}, ""),
        ("name", {}, id),
        ("created", {}, created_at),
        ("state", {}, "completed"),
        ("storage_volume", {"href": f"{base}/storage_volumes/{volume_id}", "id": volume_id}, ""),
    ]


def test_list_of_the_api_page(server, programmed_ec2):
    programmed_ec2.respond = always(
        snapshots_page(
            snapshot_item("snap-45b8d024", "vol-0bc0de60", "2011-07-28T21:54:19.000Z")
            + snapshot_item("snap-d5a1c9b4", "vol-99fbe5f2", "2011-07-28T21:46:12.000Z")
            + snapshot_item("snap-d010f6b9", "vol-351efb5c", "2008-10-20T18:23:59.000Z")
        )
    )
    status, headers, body = exchange(server, "GET /api/storage_snapshots?format=xml HTTP/1.1")
    assert status == "HTTP/1.1 200 OK"
    assert headers["Content-Type"] == "application/xml"
    assert int(headers["Content-Length"]) == len(body)
    assert body.startswith(b"<?xml version='1.0' encoding='utf-8' ?>\n")
    assert elements(body) == [
        ("storage_snapshots", {}, ""),
        *snapshot_elements("snap-45b8d024", "vol-0bc0de60", "Thu Jul 28 21:54:19 UTC 2011"),
        *snapshot_elements("snap-d5a1c9b4", "vol-99fbe5f2", "Thu Jul 28 21:46:12 UTC 2011"),
        *snapshot_elements("snap-d010f6b9", "vol-351efb5c", "Mon Oct 20 18:23:59 UTC 2008"),
    ]


def test_show_of_the_api_page(server, programmed_ec2):
    programmed_ec2.respond = always(
        snapshots_page(snapshot_item("snap-45b8d024", "vol-0bc0de60", "2011-07-28T21:54:19.000Z"))
    )
    status, headers, body = exchange(
        server, "GET /api/storage_snapshots/snap-45b8d024?format=xml HTTP/1.1"
    )
    assert status == "HTTP/1.1 200 OK"
    assert headers["Content-Type"] == "application/xml"
    assert int(headers["Content-Length"]) == len(body)
    assert elements(body) == snapshot_elements(
        "snap-45b8d024", "vol-0bc0de60", "Thu Jul 28 21:54:19 UTC 2011"
    )
    assert programmed_ec2.requests[0].parameters["SnapshotId.1"] == "snap-45b8d024"


def test_create_of_the_api_page(server, programmed_ec2):
    programmed_ec2.respond = always(
        created_response(snapshot_item("snap-d5a1c9b4", "vol-99fbe5f2", "2011-07-28T21:46:12.000Z"))
    )
    status, headers, body = exchange(
        server,
        "POST /api/storage_snapshots?format=xml HTTP/1.1",
        "Content-Length: 22\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "volume_id=vol-99fbe5f2",
    )
    assert status == "HTTP/1.1 201 Created"
    assert int(headers["Content-Length"]) == len(body)
    assert headers["Location"] == "http://localhost:3001/api/storage_snapshots/snap-d5a1c9b4"
    assert elements(body) == snapshot_elements(
        "snap-d5a1c9b4", "vol-99fbe5f2", "Thu Jul 28 21:46:12 UTC 2011"
    )
    assert programmed_ec2.requests[0].parameters["VolumeId"] == "vol-99fbe5f2"


def test_delete_of_the_api_page(server, programmed_ec2):
    programmed_ec2.respond = always(deleted_response())
    status, headers, body = exchange(
        server, "DELETE /api/storage_snapshots/snap-dda6cebc?format=xml HTTP/1.1"
    )
    assert status == "HTTP/1.1 204 No Content"
    assert body == b""
    assert "Content-Length" not in headers
    assert "Transfer-Encoding" not in headers
    assert programmed_ec2.requests[0].parameters["SnapshotId"] == "snap-dda6cebc"


def test_create_with_a_chunked_body(server, programmed_ec2):
    programmed_ec2.respond = always(created_response(snapshot_item("snap-d5a1c9b4")))
    status, _, _ = exchange(
        server,
        "POST /api/storage_snapshots HTTP/1.1",
        "Transfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "a\r\nvolume_id=\r\nc\r\nvol-99fbe5f2\r\n0\r\n\r\n",
    )
    assert status == "HTTP/1.1 201 Created"
    assert programmed_ec2.requests[0].parameters["VolumeId"] == "vol-99fbe5f2"


def test_chunked_body_over_the_limit_is_413(server, programmed_ec2):
    chunk = f"{100_000:x}\r\n{'x' * 100_000}\r\n"
    status, _, _ = exchange(
        server,
        "POST /api/storage_snapshots HTTP/1.1",
        "Transfer-Encoding: chunked\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        chunk * 11 + "0\r\n\r\n",
    )
    assert status.startswith("HTTP/1.1 413")
    assert programmed_ec2.requests == []


@pytest.mark.parametrize("address", ["/api", "/api/nothing", f"{SNAPSHOTS}?format=x"])
def test_server_header_is_the_one_of_deltacloud(server, address):
    _, headers, _ = exchange(server, f"GET {address} HTTP/1.1")
    assert headers["Server"] == "Apache-Deltacloud/1.1.3"


def test_head_has_the_headers_of_get_and_no_body(server, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-45b8d024")))
    _, of_get, body = exchange(server, "GET /api/storage_snapshots HTTP/1.1")
    _, of_head, nothing = exchange(server, "HEAD /api/storage_snapshots HTTP/1.1")
    assert nothing == b""
    for headers in (of_get, of_head):
        headers.pop("Date")
        headers.pop("X-Request-Id")
        assert float(headers.pop("X-Backend-Runtime")) > 0
    assert of_head == of_get
    assert int(of_head["Content-Length"]) == len(body)


def test_list_of_several_pages_is_chunked_and_complete(server, programmed_ec2):
    programmed_ec2.respond = two_pages(
        snapshots_page(snapshot_item("snap-11111111"), "more"),
        snapshots_page(snapshot_item("snap-22222222")),
    )
    response, body = server.get(SNAPSHOTS, {"Authorization": AUTHORIZATION})
    assert response.headers["Transfer-Encoding"] == "chunked"
    assert etree.fromstring(body).xpath("*/@id") == ["snap-11111111", "snap-22222222"]


def test_list_that_fails_midway_has_no_last_chunk(server, programmed_ec2):
    programmed_ec2.respond = second_page_fails()
    _, headers, body = exchange(server, "GET /api/storage_snapshots HTTP/1.1")
    assert headers["Transfer-Encoding"] == "chunked"
    assert b"snap-11111111" in body
    assert not body.endswith(b"0\r\n\r\n")
    wait_until(lambda: '"error_code": "AuthFailure"' in server.log.read_text(), "the log line")
    assert "Traceback" not in server.log.read_text()


def test_connections_to_ec2_are_kept_alive(tmp_path):
    def show_snapshot(_):
        response, _ = server.get(SNAPSHOT, {"Authorization": AUTHORIZATION})
        assert response.status == 200

    with instant_ec2.running() as url, gunicorn(tmp_path, url, *WORKER) as server:
        # Sequential requests share one connection.
        for number in range(20):
            show_snapshot(number)
        assert instant_ec2.counts(url) == {
            "connections": 2,
            "requests": 20,
        }  # one is that of the counter
        # Concurrent requests use one connection each.
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(show_snapshot, range(200)))
        assert instant_ec2.counts(url)["requests"] == 220
        assert instant_ec2.counts(url)["connections"] <= 16 + 4


def test_disconnected_client_stops_the_paging(server, programmed_ec2):
    programmed_ec2.respond = endless_pages
    with socket.create_connection(("127.0.0.1", server.port), LIMIT_SECONDS) as client:
        client.sendall(f"GET /api/storage_snapshots HTTP/1.1\r\n{HEAD}\r\n".encode())
        assert client.recv(1000)
    # The worker is free again, and requests no more pages.
    wait_until(lambda: open_connections(server) == 0, "the list to end")
    asked = len(programmed_ec2.requests)
    for _ in range(3):
        server.get("/api")
    assert len(programmed_ec2.requests) == asked
    assert "Traceback" not in server.log.read_text()


def open_connections(server):
    """Count the connections that the server has not closed yet."""
    listing = subprocess.run(
        # "connected" includes connections that only the client has closed.
        ["ss", "-Htn", "state", "connected", "exclude", "time-wait", f"( sport = :{server.port} )"],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    return len(listing.stdout.splitlines())


@pytest.mark.parametrize("format", ["xml", "json", "html"])
@pytest.mark.parametrize(
    "respond",
    [
        second_page_fails(error_response("AuthFailure", 401)),
        second_page_fails(EC2Response(b"<cut")),
        always(snapshots_page(snapshot_item("snap-11111111"), "more")),
    ],
    ids=["error", "unreadable", "repeated token"],
)
def test_list_that_fails_midway_is_reset_for_http_1_0(server, programmed_ec2, format, respond):
    programmed_ec2.respond = respond
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        request = f"GET /api/storage_snapshots?format={format} HTTP/1.0\r\n{HEAD}\r\n"
        connection.sendall(request.encode())
        with connection.makefile("rb") as response, pytest.raises(ConnectionResetError):
            response.read()
    assert "Traceback" not in server.log.read_text()


BAD = [
    ("GET /api/storage_snapshots/%3Cscript%3E HTTP/1.1", "", "", "404"),
    ("GET /api/storage_snapshots/..%2f..%2fnowhere HTTP/1.1", "", "", "404"),
    (f"GET /api/storage_snapshots/{'a' * 3000} HTTP/1.1", "", "", "404"),
    (f"GET /api/storage_snapshots/{'a' * 5000} HTTP/1.1", "", "", "4"),
    ("GET /api/storage_snapshots/%00 HTTP/1.1", "", "", "404"),
    ("GET /api/storage_snapshots/a%0d%0ab HTTP/1.1", "", "", "404"),
    ("GET /api/storage_snapshots/%ff HTTP/1.1", "", "", "404"),
    ("GET /api?format=%ff HTTP/1.1", "", "", "406"),
    ("GET /api?format=%00 HTTP/1.1", "", "", "400"),
    ("PUT /api/storage_snapshots HTTP/1.1", "Content-Length: 0\r\n", "", "405"),
    ("PATCH /api/storage_snapshots HTTP/1.1", "Content-Length: 3\r\n", "abc", "405"),
    (
        "POST /api/storage_snapshots HTTP/1.1",
        "Content-Type: application/json\r\nContent-Length: 2\r\n",
        "{}",
        "415",
    ),
    (
        "POST /api/storage_snapshots HTTP/1.1",
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 3\r\n",
        "--y",
        "400",
    ),
    (
        "POST /api/storage_snapshots HTTP/1.1",
        "Transfer-Encoding: chunked\r\n",
        "zz\r\nvolume_id=x\r\n",
        "400",
    ),
]


@pytest.mark.parametrize(("request_line", "more", "body", "status"), BAD)
def test_bad_input_is_4xx_without_a_traceback(
    server, programmed_ec2, request_line, more, body, status
):
    line, _, _ = exchange(server, request_line, more, body)
    assert re.match(rf"HTTP/1\.[01] {status}", line)
    assert programmed_ec2.requests == []
    assert "Traceback" not in server.log.read_text()
    programmed_ec2.respond = always(EC2Response(snapshots_page("").body))
    assert exchange(server, "GET /api HTTP/1.1")[0] == "HTTP/1.1 200 OK"


def test_invalid_option_stops_the_startup_and_is_logged(tmp_path):
    replaced = [("page_size = 1000", "page_size = 4")]
    with gunicorn(tmp_path, NOWHERE, replace=replaced) as server:
        wait_until(lambda: server.process.poll() is not None, "the server to end")
        assert server.process.returncode != 0
        assert "page_size = '4' is not allowed" in server.log.read_text()


def test_request_that_sleeps_does_not_stop_its_worker(tmp_path, programmed_ec2):
    model, listing, proceed = EC2Model(), threading.Event(), threading.Event()

    def respond(request):
        if request.action == "DescribeSnapshots":
            listing.set()
            proceed.wait(LIMIT_SECONDS)
        return model(request)

    programmed_ec2.respond = respond
    headers = {"Authorization": AUTHORIZATION, "Idempotency-Key": '"k"'}
    create = (f"{SNAPSHOTS}?volume_id=vol-12345678", headers, "POST")
    with gunicorn(tmp_path, programmed_ec2.url, *WORKER) as server, ThreadPoolExecutor() as pool:
        first = pool.submit(server.get, *create)
        assert listing.wait(LIMIT_SECONDS)
        second = pool.submit(server.get, *create)  # waits by Runtime.sleep for the first
        for _ in range(20):
            assert server.get("/healthz")[0].status == 200
        proceed.set()
        assert [future.result()[0].status for future in (first, second)] == [201, 201]
