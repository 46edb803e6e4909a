"""Secrets appear neither in logs at DEBUG, nor in responses, nor in process titles."""

import re
import socket
import subprocess

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION, CALLER
from tests.support.ec2_responses import (
    EC2Response,
    created_response,
    error_response,
    snapshot_item,
    snapshots_page,
)
from tests.support.responders import always
from tests.support.servers import WORKER, gunicorn, wait_until

DEBUG = """
[loggers]
keys = root
[logger_root]
level = DEBUG
handlers = console
[handlers]
keys = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatters]
keys = plain
[formatter_plain]
format = %(name)s %(message)s
"""


def test_log_contains_no_secret_of_a_malformed_request(ec2_server, programmed_ec2, tmp_path):
    programmed_ec2.respond = always(error_response("InternalError", 500))
    secret = AUTHORIZATION.split()[1]
    with gunicorn(tmp_path, ec2_server.url, *WORKER) as server:
        address = f"{SNAPSHOTS}?secret={CALLER[1]}"
        server.get(address, {"Authorization": AUTHORIZATION})
        for unreadable in (
            f"GET /api HTTP/1.1\r\nHost: localhost\r\nAuthorization {AUTHORIZATION}\r\n\r\n",
            f"GET http://[/api?secret={secret} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                client.sendall(unreadable.encode())
                assert client.recv(100)
        wait_until(lambda: server.log.read_text().count("Invalid request") == 2, "both lines")
        log = server.log.read_text()
    assert '"status": 502' in log
    assert CALLER[1] not in log
    assert secret not in log


@pytest.mark.parametrize(
    "ec2_response",
    [
        snapshots_page(snapshot_item("snap-12345678")),
        created_response(snapshot_item("snap-12345678")),
        error_response("AuthFailure", 401),
        error_response("InternalError", 500),
        EC2Response(b"nonsense"),
    ],
)
def test_no_secret_in_responses_debug_logs_or_process_titles(
    ec2_server, programmed_ec2, tmp_path, ec2_response
):
    programmed_ec2.respond = always(ec2_response)
    marker = "[app:main]"
    replaced = [(marker, DEBUG + marker), ("retry_attempts = 3", "retry_attempts = 1")]
    with gunicorn(tmp_path, ec2_server.url, *WORKER, replace=replaced) as server:
        seen = ""
        for method, address in (
            ("GET", "/metrics"),
            ("GET", "/api?force_auth=1"),
            ("GET", SNAPSHOTS),
            ("GET", f"{SNAPSHOTS}/snap-12345678?format=json"),
            ("DELETE", f"{SNAPSHOTS}/snap-12345678?format=html"),
            ("GET", "/metrics"),
        ):
            response, body = server.get(address, {"Authorization": AUTHORIZATION}, method=method)
            seen += f"{response.headers}{body.decode()}"
        titles = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        log = server.log.read_text()
    assert "botocore" in log  # it did log at DEBUG
    for text in (seen, log, titles):
        assert CALLER[1] not in text
        assert AUTHORIZATION.split()[1] not in text
        assert not re.search(r"Signature=|[0-9a-f]{64}", text)
