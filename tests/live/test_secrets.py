"""Secrets appear neither in logs at DEBUG, nor in responses, nor in process titles."""

import re
import subprocess

import pytest

from tests.support.accounts import (
    BASE_KEY,
    password_hash,
    password_of,
    role_profile,
    write_account_files,
)
from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION, CALLER, basic_authorization, register_caller
from tests.support.ec2_responses import (
    EC2Response,
    created_response,
    error_response,
    snapshot_item,
    snapshots_page,
)
from tests.support.responders import always
from tests.support.servers import LIMIT_SECONDS, WORKER, gunicorn, wait_until

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


def process_titles():
    command = ["ps", "-eo", "args"]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS).stdout


def test_log_contains_no_secret_of_a_malformed_request(ec2_server, programmed_ec2, tmp_path):
    programmed_ec2.respond = always(error_response("InternalError", 500))
    secret = AUTHORIZATION.split()[1]
    with gunicorn(tmp_path, ec2_server.url, *WORKER) as server:
        address = f"{SNAPSHOTS}?secret={CALLER[1]}"
        server.get(address, {"Authorization": AUTHORIZATION})
        for unreadable in (
            f"GET /api HTTP/1.1\r\nHost: localhost\r\nAuthorization {AUTHORIZATION}\r\n\r\n",
            f"GET http://[/api?secret={secret} HTTP/1.1\r\nHost: localhost\r\n\r\n",
            f"GET /api HTTP/1.1\r\nHost: localhost\r\nExpect: {secret}\r\n\r\n",
            f"GET /api {AUTHORIZATION}\r\nHost: localhost\r\n\r\n",
        ):
            received = server.exchange(unreadable.encode())
            assert received.startswith(b"HTTP/1.1 400")
            assert secret.encode() not in received
        wait_until(lambda: server.log.read_text().count("Invalid request") == 4, "all lines")
        log = server.log.read_text()
    assert '"status": 502' in log
    assert CALLER[1] not in log
    assert secret not in log


@pytest.fixture(scope="module")
def debug_server(ec2_server, tmp_path_factory):
    marker = "[app:main]"
    replaced = [(marker, DEBUG + marker), ("retry_attempts = 3", "retry_attempts = 1")]
    folder = tmp_path_factory.mktemp("debug")
    with gunicorn(folder, ec2_server.url, *WORKER, replace=replaced) as server:
        yield server


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
    debug_server, programmed_ec2, ec2_response
):
    programmed_ec2.respond = always(ec2_response)
    before = len(debug_server.log.read_text())
    seen = ""
    for method, address in (
        ("GET", "/metrics"),
        ("GET", "/api?force_auth=1"),
        ("GET", SNAPSHOTS),
        ("GET", f"{SNAPSHOTS}/snap-12345678?format=json"),
        ("DELETE", f"{SNAPSHOTS}/snap-12345678?format=html"),
        ("GET", "/metrics"),
    ):
        response, body = debug_server.get(address, {"Authorization": AUTHORIZATION}, method=method)
        seen += f"{response.headers}{body.decode()}"
    titles = process_titles()
    log = debug_server.log.read_text()
    assert "botocore" in log[before:]  # it did log at DEBUG
    for text in (seen, log, titles):
        assert CALLER[1] not in text
        assert AUTHORIZATION.split()[1] not in text
        assert not re.search(r"Signature=|[0-9a-f]{64}", text)


@pytest.mark.parametrize(
    "ec2_response", [snapshots_page(snapshot_item("snap-12345678")), error_response("AuthFailure")]
)
def test_no_secret_of_an_account_in_responses_debug_logs_or_process_titles(
    ec2_server, programmed_ec2, sts, tmp_path, ec2_response
):
    programmed_ec2.respond = always(ec2_response)
    files = write_account_files(
        tmp_path,
        {
            "reader": role_profile("reader", sts.url),
            "broken": "[profile broken]\ncredential_process = echo not-json\n",
        },
    )
    right, broken = (basic_authorization(f"{n}:{password_of(n)}") for n in ("reader", "broken"))
    wrong = basic_authorization("reader:a wrong password")
    register_caller("ASIAOFACALLER", "secret+of+a+caller")
    temporary = basic_authorization("ASIAOFACALLER:secret+of+a+caller:token+of+a+caller")
    marker = "[app:main]"
    with gunicorn(
        tmp_path,
        ec2_server.url,
        *WORKER,
        replace=[(marker, DEBUG + marker)],
        options={**files.options, "own_keys": "on"},
    ) as server:
        seen = ""
        for authorization in (right, wrong, broken, temporary, right):
            response, body = server.get(SNAPSHOTS, {"Authorization": authorization})
            seen += f"{response.headers}{body.decode()}"
        titles = process_titles()
        log = server.log.read_text()
    assert "botocore" in log  # it did log at DEBUG
    assert "a login failed: name 'reader'" in log
    assert "no credentials for the account broken" in log
    [key] = sts.handed_out
    secrets = [
        *(password_of(name) for name in ("reader", "broken")),
        *(password_hash(password_of(name)) for name in ("reader", "broken")),
        *(text.split()[1] for text in (right, wrong, broken, temporary)),
        *("a wrong password", "secret+of+a+caller", "token+of+a+caller", "not-json"),
        *(key.secret, key.token, BASE_KEY[1]),
    ]
    for text in (seen, log, titles):
        assert [secret for secret in secrets if secret in text] == []
        assert not re.search(r"Signature=|[0-9a-f]{64}", text)


def test_access_log_of_gunicorn_contains_no_key(ec2_server, programmed_ec2, tmp_path):
    arguments = ("--access-logfile", "-", "--access-logformat")
    format = "ACCESS %(u)s %({Authorization}i)s %({HTTP_AUTHORIZATION}e)s"
    with gunicorn(tmp_path, ec2_server.url, *WORKER, *arguments, format) as server:
        server.get(SNAPSHOTS, {"Authorization": AUTHORIZATION})
        wait_until(lambda: "ACCESS" in server.log.read_text(), "the line of the access log")
        log = server.log.read_text()
    assert f"ACCESS {CALLER[0][-4:]} - -" in log
    assert CALLER[0] not in log
    assert AUTHORIZATION.split()[1] not in log


BROKEN_APPLICATION = """
def factory(global_conf):
    def fail(environ, start_response):
        raise ValueError("broken")
    return fail
"""


def test_log_of_an_exception_outside_of_dcproxy_contains_no_query(ec2_server, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN_APPLICATION)
    behind = "[app:broken]\npaste.app_factory = broken:factory\n"
    pipeline = "[pipeline:main]\npipeline = dcproxy broken\n"
    replace = [("[app:main]", f"{pipeline}\n{behind}\n[app:other]")]
    with gunicorn(tmp_path, ec2_server.url, *WORKER, replace=replace) as server:
        response, _ = server.get("/anything?secret=of-the-query")
        assert response.status == 500
        wait_until(lambda: "ValueError: broken" in server.log.read_text(), "the traceback")
        log = server.log.read_text()
    assert "Error handling request GET /anything\n" in log
    assert "of-the-query" not in log
