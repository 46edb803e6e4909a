"""No fault of EC2 or the network delays a response longer than the bound in the README."""

import time

import pytest
from lxml import etree

from tests.support.addresses import SNAPSHOT
from tests.support.callers import AUTHORIZATION
from tests.support.endpoints import (
    full_endpoint,
    refusing_endpoint,
    resetting_endpoint,
    silent_endpoint,
    truncating_endpoint,
    unknown_endpoint,
    untrusted_endpoint,
)
from tests.support.servers import THREADS, gunicorn

CONNECT, READ, ATTEMPTS = 0.5, 0.5, 2
# n * (c + r) + (n - 1) * 25, as the README says; and what the machine needs.
BOUND = ATTEMPTS * (CONNECT + READ) + (ATTEMPTS - 1) * 25 + 2
SHORT = (
    ("connect_timeout = 5", f"connect_timeout = {CONNECT}"),
    ("read_timeout = 60", f"read_timeout = {READ}"),
    ("retry_attempts = 3", f"retry_attempts = {ATTEMPTS}"),
)


@pytest.mark.parametrize(
    ("faulty_endpoint", "message"),
    [
        (silent_endpoint, "did not respond in time"),
        (full_endpoint, "did not accept the connection in time"),
        (refusing_endpoint, "cannot be reached"),
        (resetting_endpoint, "closed the connection"),
        (truncating_endpoint, ""),
        (unknown_endpoint, "cannot be reached"),
        (untrusted_endpoint, "has a TLS certificate that cannot be verified"),
    ],
)
def test_faulty_endpoint_is_502_within_the_time_limit(tmp_path, faulty_endpoint, message):
    with faulty_endpoint() as url, gunicorn(tmp_path, url, *THREADS, replace=SHORT) as server:
        connection = server.connect()
        connection.timeout = BOUND
        started = time.monotonic()
        for method in ("GET", "DELETE"):
            connection.request(method, SNAPSHOT, headers={"Authorization": AUTHORIZATION})
            response = connection.getresponse()
            body = response.read()
            assert response.status == 502
            assert message in etree.fromstring(body).findtext("message")
            assert response.headers["Retry-After"]
        assert time.monotonic() - started < 2 * BOUND, "the limit of a wait, not a measurement"
        assert "Traceback" not in server.log.read_text()
