"""Clients that send at full speed or too much: others are served, and memory is bounded."""

import os
import re
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from lxml import etree

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.certificates import make_certificate
from tests.support.ec2_responses import snapshot_item, snapshots_page
from tests.support.endpoints import continuing_endpoint, tiny_chunks_endpoint
from tests.support.floods import FLOODS, flooding
from tests.support.responders import always, second_page_fails, two_pages
from tests.support.servers import (
    BIN,
    LIMIT_SECONDS,
    NOWHERE,
    PROXY_INI,
    WORKER,
    Server,
    children,
    free_port,
    gunicorn,
    replaced,
    running,
    wait_until,
)

CONNECTIONS = 400
BODY_BYTES = 999_000


@pytest.mark.parametrize("name", FLOODS)
def test_clients_at_full_speed_do_not_delay_others(server, name):
    server.get("/healthz")  # the application is loaded
    with flooding(server.port, name, seconds=60, connections=2) as floods:
        for _ in range(40):
            assert server.get("/healthz")[0].status == 200
        assert [process.poll() for process in floods] == [None, None]
    assert "WORKER TIMEOUT" not in server.log.read_text()


@pytest.mark.parametrize("endpoint", [continuing_endpoint, tiny_chunks_endpoint])
def test_ec2_at_full_speed_does_not_delay_others(tmp_path, endpoint):
    headers = {"Authorization": AUTHORIZATION}
    with (
        ThreadPoolExecutor() as pool,
        endpoint() as url,
        gunicorn(tmp_path, url, *WORKER, options={"deadline": 15}) as server,
    ):
        server.get("/healthz")
        listed = pool.submit(server.get, SNAPSHOTS, headers)
        for _ in range(40):
            assert server.get("/healthz")[0].status == 200
        assert not listed.done()


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
@pytest.mark.parametrize("name", ["endless body", "endless chunks", "tiny chunks"])
def test_body_that_nobody_wants_is_read_for_a_limited_time(server, name, more):
    first, again = FLOODS[name]
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_SECONDS) as client:
        client.sendall(first.replace(b"POST /api HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n" + more))
        with pytest.raises(ConnectionError):
            client.sendall(again * (50_000_000 // len(again)))


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
def test_answer_arrives_although_the_body_was_not_wanted(server, more):
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_SECONDS) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n%sContent-Length: 500000\r\n\r\n" % more)
        with client.makefile("rb") as response:
            assert b"HTTP/1.1 30" in response.readline()
        for _ in range(20):  # a reset, with which the answer could be lost, would be an error
            client.sendall(b"x" * 10_000)
            time.sleep(0.01)


def test_bodies_of_nobody_take_no_memory(server):
    [worker] = children(server.process.pid)
    before = megabytes(worker)
    head = (
        f"POST {SNAPSHOTS} HTTP/1.1\r\nHost: h\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000000\r\n\r\n"
    ).encode()
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(
                socket.create_connection(("127.0.0.1", server.port), LIMIT_SECONDS)
            )
            try:
                client.sendall(head + b"x" * BODY_BYTES)
            except ConnectionError:
                continue
        assert megabytes(worker) < before + 100
        assert server.get("/healthz")[0].status == 200


def megabytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(status.read().split("VmRSS:")[1].split()[0]) / 1024


LATE = b"The request was not complete within 1 seconds."
LONG = b"a" * 9000


@pytest.fixture(scope="module")
def impatient_server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("impatient")
    with gunicorn(folder, NOWHERE, *WORKER, options={"request_timeout": 1}) as server:
        yield server


def test_time_limit_of_a_request_holds_for_a_body_at_full_speed(impatient_server):
    """Chunks of one byte with long extensions: 500 MB would be a permitted form."""
    server = impatient_server
    chunk = b"1;" + b"a" * 8000 + b"\r\nx\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_SECONDS) as client:
        client.sendall(b"POST /api HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        with suppress(ConnectionError):  # the reset, which may overtake the answer
            for _ in range(700):
                client.sendall(chunk * 100)
    line = wait_until(lambda: re.search(r"POST /api (\d+)", server.log.read_text()), "the line")
    assert line[1] == "400"


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        (b"GET /api?" + LONG + b" HTTP/1.1\r\nHost: h\r\n\r\n", b"too large"),
        (b"GET /api HTTP/1.1\r\nHost: h\r\nX: " + LONG + b"\r\n\r\n", b"headers"),
        (b"GET /api HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"headers"),
        (b"GET\xff<&> /api HTTP/1.1\r\nHost: h\r\n\r\n", b"Method"),
        (b"GET /api HTTP/9.9\r\nHost: h\r\n\r\n", b"Version"),
        (b"GET /api HTTP/1.1\r\nHost: h\r\nExpect: miracles\r\n\r\n", b"xpect"),
        (b"GET /api HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", b"HTTP Header"),
        (b"GET /api HTTP/1.1\r\nHost: h", LATE),
    ],
)
def test_error_of_gunicorn_is_a_document_that_old_clients_notice(
    impatient_server, request_text, message
):
    head, _, body = impatient_server.exchange(request_text).partition(b"\r\n\r\n")
    status_line, *headers = head.split(b"\r\n")
    status = int(status_line.split()[1])
    assert status in {*range(400, 410), 500, 501, 502}
    assert b"Server: Apache-Deltacloud/1.1.3" in headers
    assert body.startswith(b"<error")
    error = etree.fromstring(body)
    assert error.get("status") == error.findtext("code") == str(status)
    assert message in error.findtext("message").encode()


def test_longest_name_and_description_fit_into_a_query(tmp_path, programmed_ec2):
    character = "%F0%9F%98%80"
    query = f"volume_id=vol-{'1' * 17}&name={character * 256}&description={character * 255}"
    with running([BIN / "dcproxy", "-c", PROXY_INI, "-p", "0"], tmp_path / "log") as server:
        text = f"POST {SNAPSHOTS}?{query} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        assert b"HTTP/1.1 401 " in server.exchange(text.encode())  # not 414


@pytest.mark.parametrize("is_cut", [False, True])
def test_only_a_complete_list_ends_with_close_notify_in_http_1_0(tmp_path, programmed_ec2, is_cut):
    pages = snapshots_page(snapshot_item("snap-11111111"), "more")
    programmed_ec2.respond = second_page_fails() if is_cut else two_pages(pages, snapshots_page(""))
    ca, key, certificate = make_certificate(tmp_path)
    tls = (f"--certfile={certificate}", f"--keyfile={key}")
    context = ssl.create_default_context(cafile=ca)
    with gunicorn(tmp_path, programmed_ec2.url, *WORKER, *tls) as server:
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_SECONDS)
        with context.wrap_socket(
            raw, server_hostname="localhost", suppress_ragged_eofs=False
        ) as client:
            client.sendall(
                f"GET {SNAPSHOTS} HTTP/1.0\r\nAuthorization: {AUTHORIZATION}\r\n\r\n".encode()
            )
            received = b""
            try:
                while data := client.recv(65536):
                    received += data
            except OSError:
                assert is_cut
            else:
                assert not is_cut
                assert received.endswith(b"</storage_snapshots>\n")


@pytest.mark.parametrize(
    ("item", "number"),
    [
        ("<item><snapshotId>snap-11111111</snapshotId></item>", 39_000),
        (
            "<x:item xmlns:x='http://ec2.amazonaws.com/doc/2016-11-15/'><x:snapshotId>"
            "s</x:snapshotId><x:startTime>Thu Jul 28 21:54:19 2011</x:startTime></x:item>",
            13_000,
        ),
    ],
)
def test_page_of_too_many_records_does_not_delay_others(server, programmed_ec2, item, number):
    page = snapshots_page(item * number)
    assert len(page.body) < 2_000_000
    programmed_ec2.respond = always(page)
    headers = {"Authorization": AUTHORIZATION}
    with ThreadPoolExecutor() as pool:
        listed = pool.submit(server.get, SNAPSHOTS, headers)
        wait_until(lambda: programmed_ec2.requests, "the request to EC2")
        served = 0
        while not listed.done():
            assert server.get("/healthz")[0].status == 200
            served += 1
        assert served > 20
        assert listed.result()[0].status == 200


@pytest.mark.parametrize(("more", "logs"), [("", 1), ("\naccesslog = -", 2)])
def test_log_that_nobody_reads_does_not_stop_a_worker(tmp_path, programmed_ec2, more, logs):
    ini = tmp_path / "proxy.ini"
    ini.write_text(replaced(PROXY_INI.read_text(), ("workers = 2", f"workers = 1{more}")))
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    port = free_port()
    process = subprocess.Popen(
        [BIN / "dcproxy", "-c", ini, "-p", str(port)], stdout=write_end, stderr=write_end
    )
    os.close(write_end)
    server = Server(process, port, None)
    try:
        wait_until(lambda: b"Booting worker" in _read(read_end), "the worker")
        for _ in range(600):  # about three times what a pipe holds
            assert server.get("/api")[0].status == 200
        while _read(read_end):
            pass
        assert server.get("/api")[0].status == 200
        text = bytearray()
        wait_until(
            lambda: text.extend(_read(read_end)) or text.count(b"log lines were dropped") == logs,
            "the number of dropped lines of each log",
        )
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)
        os.close(read_end)


def _read(descriptor):
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""
