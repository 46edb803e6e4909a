"""A name server that does not answer for some names: the deadline holds, other names resolve."""

import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.callers import AUTHORIZATION
from tests.support.servers import BIN, running

ADDRESS = "127.0.0.153"
DEADLINE = 15
SLACK = 15
ABANDONED = 30
PROVIDER = "X-Deltacloud-Provider"


def serve(server, healthy):
    """Answer queries for names that contain ``healthy`` with 127.0.0.1, and no others."""
    while True:
        try:
            query, client = server.recvfrom(512)
        except OSError:  # the test has ended
            return
        end = query.index(b"\0", 12) + 1
        if healthy not in query[12:end]:
            continue
        is_address = query[end : end + 2] == b"\0\1"
        header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, is_address, 0, 0)
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + b"\x7f\0\0\1"
        server.sendto(header + query[12 : end + 4] + answer * is_address, client)


@pytest.fixture
def name_server():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        try:
            server.bind((ADDRESS, 53))
        except PermissionError:
            pytest.skip("only root may listen on the port of name servers")
        threading.Thread(target=serve, args=(server, b"eu-west-1"), daemon=True).start()
        yield


@pytest.mark.usefixtures("name_server")
def test_abandoned_lookups_end_at_the_deadline_and_delay_no_other_name(tmp_path, monkeypatch):
    monkeypatch.setenv("GEVENT_RESOLVER_NAMESERVERS", ADDRESS)
    ini = tmp_path / "proxy.ini"
    ini.write_text(
        f"[app:main]\nuse = egg:dcproxy\ndeadline = {DEADLINE}\n"
        "[server:main]\nuse = egg:gunicorn#main\nworkers = 1\n"
    )

    def show(provider):
        started = time.monotonic()
        headers = {"Authorization": AUTHORIZATION, PROVIDER: provider}
        response, body = server.get("/api/storage_snapshots/snap-12345678", headers)
        return response.status, body, time.monotonic() - started

    with (
        running([BIN / "dcproxy", "--config", ini, "--port", "0"], tmp_path / "log") as server,
        ThreadPoolExecutor(ABANDONED) as clients,
    ):
        server.get("/healthz")
        abandoned = [clients.submit(show, "us-east-1") for _ in range(ABANDONED)]
        status, body, _ = show("eu-west-1")
        assert status == 502
        assert b"the connection was refused" in body
        assert not any(request.done() for request in abandoned)
        for request in abandoned:
            status, body, seconds = request.result()
            assert status == 502
            assert seconds < DEADLINE + SLACK
