"""Secrets never appear: not in logs at DEBUG, not in an answer, not in a process's title."""

import re
import subprocess

import pytest

from tests.conftest import CALLER
from tests.live.servers import gunicorn
from tests.live.test_gunicorn import AUTHORIZATION, THREADS
from tests.programmed_ec2 import Answer, created, refusal, snapshot_item, snapshots_page

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


@pytest.mark.parametrize(
    "answer",
    [
        snapshots_page(snapshot_item("snap-12345678")),
        created(snapshot_item("snap-12345678")),
        refusal("AuthFailure", 401),
        refusal("InternalError", 500),
        Answer(b"nonsense"),
    ],
)
def test_nothing_gives_away_a_secret(ec2_of_the_session, programmed_ec2, tmp_path, answer):
    programmed_ec2.respond = lambda request: answer
    marker = "[app:main]"
    replaced = [(marker, DEBUG + marker), ("retry_attempts = 3", "retry_attempts = 1")]
    with gunicorn(tmp_path, ec2_of_the_session.url, *THREADS, replace=replaced) as server:
        seen = ""
        for method, address in (
            ("GET", "/metrics"),
            ("GET", "/api?force_auth=1"),
            ("GET", "/api/storage_snapshots"),
            ("GET", "/api/storage_snapshots/snap-12345678?format=json"),
            ("DELETE", "/api/storage_snapshots/snap-12345678?format=html"),
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
