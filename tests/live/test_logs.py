"""The log: one line per request on stderr, as JSON or text, or by the operator's own loggers."""

import json
import os
import pty
import re
import subprocess
import threading
from contextlib import suppress
from datetime import datetime
from http.client import HTTPException

import pytest

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.callers import AUTHORIZATION, CALLER
from tests.support.ec2_responses import EC2Response, error_response, snapshot_item, snapshots_page
from tests.support.responders import always, second_page_fails
from tests.support.servers import BIN, PROXY_INI, WORKER, gunicorn, running, wait_until

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OWN_LOGGERS = """
[loggers]
keys = root, requests
[logger_root]
level = INFO
handlers =
[logger_requests]
qualname = dcproxy.requests
level = INFO
handlers = own
[handlers]
keys = own
[handler_own]
class = FileHandler
args = ("own.log",)
formatter = own
[formatters]
keys = own
[formatter_own]
format = OWN %(message)s %(operation)s
"""


@pytest.fixture
def line_of(server, programmed_ec2):
    """Send a request with this id, and give its one log line."""

    def send(id, address, headers=None, method="GET"):
        sent = {"Authorization": AUTHORIZATION, "X-Request-Id": id}
        with suppress(OSError, HTTPException):  # an aborted list
            server.get(address, sent | (headers or {}), method=method)
        [line] = wait_until(lambda: lines_with(id, server.log), "the line of the request")
        return line

    return send


def lines_with(id, log):
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, lines) if line.get("request_id") == id]


def test_log_line_of_a_request(line_of, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
    headers = {"X-Deltacloud-Provider": "eu-west-1", "traceparent": TRACEPARENT}
    line = line_of("whole", f"{SNAPSHOTS}/snap-12345678?format=json", headers)
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert 0 < line.pop("duration") < 30
    assert line == {
        "level": "info",
        "message": "GET /api/storage_snapshots/snap-12345678 200",
        "request_id": "whole",
        "client": "127.0.0.1",
        "scheme": "http",
        "method": "GET",
        "path": SNAPSHOT,
        "status": 200,
        "operation": "storage_snapshots.show",
        "provider": "eu-west-1",
        "access_key_id": CALLER[0][-4:],
        "ec2_request_ids": ["59dbff89-35bd-4eac-99ed-be587EXAMPLE"],
        "retries": 0,
        "traceparent": TRACEPARENT,
    }


def test_log_line_contains_an_ec2_request_id_from_a_header(line_of, programmed_ec2):
    response = EC2Response(b"<a/>", headers=(("x-amzn-RequestId", "in-the-header"),))
    programmed_ec2.respond = always(response)
    # The response cannot be read, so the request is repeated.
    assert line_of("header", SNAPSHOTS)["ec2_request_ids"] == ["in-the-header"] * 3


def test_log_line_of_an_unknown_address(line_of):
    line = line_of("nothing", "/nowhere/%0a%22", {"Authorization": ""})
    assert (line["status"], line["operation"], line["path"]) == (404, "none", "/nowhere/%0A%22")
    assert "access_key_id" not in line


def test_log_line_contains_ec2_error_and_retries(line_of, programmed_ec2):
    programmed_ec2.respond = always(error_response("InternalError", 500))
    line = line_of("refused", f"{SNAPSHOTS}/snap-12345678")
    assert (line["level"], line["status"], line["retries"]) == ("error", 502, 2)
    assert line["error_code"] == "InternalError"
    assert line["error"] == "InternalError: EC2 says no."
    assert line["ec2_request_ids"] == ["ea966190-f9aa-478e-9ede-example"] * 3


def test_log_line_of_a_client_error_has_level_info(line_of, programmed_ec2):
    line = line_of("unknown", f"{SNAPSHOTS}/x")
    assert (line["level"], line["status"]) == ("info", 404)
    assert "error" not in line
    assert "error_code" not in line


@pytest.mark.parametrize(
    ("code", "of_ec2", "status"),
    [
        ("UnauthorizedOperation", 403, 502),
        ("AuthFailure", 401, 401),
        ("InvalidSnapshot.NotFound", 400, 404),
    ],
)
def test_log_line_of_a_refusal_has_level_warning(line_of, programmed_ec2, code, of_ec2, status):
    programmed_ec2.respond = always(error_response(code, of_ec2))
    line = line_of(f"refused-{code}", f"{SNAPSHOTS}/snap-12345678")
    assert (line["level"], line["status"], line["error_code"]) == ("warning", status, code)
    assert line.get("error") == (f"{code}: EC2 says no." if status == 502 else None)


def test_log_line_of_an_aborted_list_has_level_error(line_of, programmed_ec2):
    programmed_ec2.respond = second_page_fails()
    line = line_of("broken", SNAPSHOTS, {"Connection": "close"})
    assert (line["level"], line["status"], line["error_code"]) == ("error", 200, "AuthFailure")
    assert len(line["ec2_request_ids"]) == 2


def test_malformed_traceparent_is_not_logged(line_of):
    assert "traceparent" not in line_of("untraced", "/api", {"traceparent": "00-xyz"})


def test_health_and_metrics_requests_are_not_logged(server):
    for address in ("/healthz", "/metrics"):
        server.get(address, {"X-Request-Id": "probe"})
    server.get("/api", {"X-Request-Id": "after-the-probes"})
    wait_until(lambda: lines_with("after-the-probes", server.log), "the line of the request")
    assert lines_with("probe", server.log) == []


def test_log_line_in_text_format(tmp_path, ec2_server, programmed_ec2):
    programmed_ec2.respond = always(error_response("AuthFailure", 401, "Two\nlines."))
    replace = [("#log_format = json", "log_format = text")]
    with gunicorn(tmp_path, ec2_server.url, *WORKER, replace=replace) as server:
        server.get(SNAPSHOTS, {"Authorization": AUTHORIZATION, "X-Request-Id": "readable"})
        log = wait_until(lambda: re.search(".*readable.*", server.log.read_text()), "the line")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING GET /api/storage_snapshots 401 "
        r"request_id=readable client=127\.0\.0\.1 scheme=http duration=[\d.e-]+ "
        r"operation=storage_snapshots\.index "
        rf"provider=us-east-1 access_key_id={CALLER[0][-4:]} "
        r"ec2_request_ids=ea966190-f9aa-478e-9ede-example retries=0 error_code=AuthFailure",
        log[0],
    )


def test_loggers_of_the_file_replace_the_default_under_gunicorn(
    tmp_path, ec2_server, programmed_ec2
):
    replace = [("[app:main]", OWN_LOGGERS + "[app:main]")]
    with gunicorn(tmp_path, ec2_server.url, *WORKER, replace=replace) as server:
        server.get("/api")
        own = tmp_path / "own.log"
        wait_until(lambda: "GET /api 200" in own.read_text(), "the line in the operator's log")
        assert "GET /api 200" not in server.log.read_text()
    assert own.read_text() == "OWN GET /api 200 entry_point.show\n"


def command_with(tmp_path, more=""):
    ini = tmp_path / "proxy.ini"
    ini.write_text(PROXY_INI.read_text().replace("[app:main]", more + "[app:main]"))
    return [BIN / "dcproxy", "--config", ini, "--port", "0"]


def test_command_logs_json_without_a_terminal(tmp_path):
    log = tmp_path / "log"
    with open(log, "w") as stderr:
        process = subprocess.Popen(
            command_with(tmp_path), stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        url = process.stdout.readline().split()[-1]
        subprocess.run(
            ["curl", "-sfm", "60", "-H", "X-Request-Id: mine", url], check=True, timeout=70
        )
        wait_until(lambda: lines_with("mine", log), "the line of the request")
    finally:
        process.terminate()
        process.wait(40)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert any("Listening at" in line["message"] for line in lines)
    assert [line["path"] for line in lines if "path" in line] == ["/api"]


def test_command_logs_text_in_a_terminal(tmp_path):
    ours, terminal = pty.openpty()
    process = subprocess.Popen(command_with(tmp_path), stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen = []
    threading.Thread(target=collect, args=(ours, seen), daemon=True).start()
    try:
        url = wait_until(lambda: re.search(r"listens on (\S+)", "".join(seen)), "the address")[1]
        subprocess.run(
            ["curl", "-sfm", "60", url], check=True, stdout=subprocess.DEVNULL, timeout=70
        )
        wait_until(lambda: re.search(r"Z INFO GET /api 200 \w", "".join(seen)), "the line")
    finally:
        process.terminate()
        process.wait(40)
    assert "{" not in "".join(seen)


def collect(descriptor, seen):
    try:
        while data := os.read(descriptor, 65536):
            seen.append(data.decode())
    except OSError:
        pass  # the terminal is closed


def test_loggers_of_the_file_replace_the_default_of_the_command(tmp_path):
    command = command_with(tmp_path, OWN_LOGGERS)
    with running(command, tmp_path / "log", cwd=tmp_path) as server:
        server.get("/api")
        own = tmp_path / "own.log"
        wait_until(lambda: "GET /api 200" in own.read_text(), "the line in the operator's log")
        assert "GET /api 200" not in server.log.read_text()
