"""Every request ends within ``deadline``, whatever EC2 and the network do.

All requests to all faulty endpoints are sent at once, before the first test.
"""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import pytest
from lxml import etree

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.endpoints import (
    continuing_endpoint,
    dripping_body_endpoint,
    dripping_handshake_endpoint,
    dripping_head_endpoint,
    dripping_proxy,
    full_endpoint,
    refusing_endpoint,
    resetting_endpoint,
    silent_endpoint,
    tiny_chunks_endpoint,
    truncating_endpoint,
    unknown_endpoint,
    untrusted_endpoint,
)
from tests.support.servers import LIMIT_SECONDS, WORKER, gunicorn

DEADLINE = 15
SLACK = 15
"""Seconds that all these servers at once may add on a busy machine."""
CREATE = f"{SNAPSHOTS}?volume_id=vol-12345678"

REQUESTS = {
    "show": ("GET", SNAPSHOT, {}),
    "list": ("GET", SNAPSHOTS, {}),
    "delete": ("DELETE", SNAPSHOT, {}),
    "create": ("POST", CREATE, {}),
    "create with a key": ("POST", CREATE, {"Idempotency-Key": '"k"'}),
}

SLOW = "did not respond before the deadline"
NOT_REACHED = "was not reached before the deadline"
ENDPOINTS = {
    silent_endpoint: "did not respond",
    dripping_head_endpoint: SLOW,
    dripping_body_endpoint: SLOW,
    continuing_endpoint: SLOW,
    tiny_chunks_endpoint: SLOW,
    dripping_handshake_endpoint: NOT_REACHED,
    dripping_proxy: NOT_REACHED,
    full_endpoint: f"did not accept the connection in time|was not called|{NOT_REACHED}",
    refusing_endpoint: "cannot be reached",
    resetting_endpoint: "closed the connection",
    truncating_endpoint: "",
    unknown_endpoint: "cannot be reached",
    untrusted_endpoint: "has a TLS certificate that cannot be verified",
}
"""What the message of an error says of each endpoint, as a regular expression."""

FAIL_AT_ONCE = {
    refusing_endpoint,
    resetting_endpoint,
    truncating_endpoint,
    unknown_endpoint,
    untrusted_endpoint,
}

MAY_HAVE_CREATED = [
    silent_endpoint,
    dripping_head_endpoint,
    dripping_body_endpoint,
    continuing_endpoint,
    tiny_chunks_endpoint,
    resetting_endpoint,
    truncating_endpoint,
]
"""Endpoints that receive a request."""

CERTAINLY_NOT_CREATED = [
    dripping_handshake_endpoint,
    dripping_proxy,
    full_endpoint,
    refusing_endpoint,
    unknown_endpoint,
]


class Outcome(NamedTuple):
    status: int
    headers: dict[str, str]
    message: str
    seconds: float


def outcome_of(server, request):
    method, address, headers = REQUESTS[request]
    started = time.monotonic()
    headers = {"Authorization": AUTHORIZATION, **headers}
    response, body = server.get(address, headers, method=method)
    message = etree.fromstring(body).findtext("message")
    return Outcome(response.status, response.headers, message, time.monotonic() - started)


class Run(NamedTuple):
    outcomes: dict
    logs: dict


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Send each request to a server in front of each endpoint; give the outcomes and the logs."""
    with ExitStack() as stack, ThreadPoolExecutor(len(ENDPOINTS) * len(REQUESTS)) as pool:

        def start(endpoint):
            folder = tmp_path_factory.mktemp(endpoint.__name__)
            url = stack.enter_context(endpoint())
            env = dict(os.environ)
            if endpoint is dripping_proxy:
                env["HTTPS_PROXY"], url = url, "https://ec2.example.org"
            server = gunicorn(folder, url, *WORKER, options={"deadline": DEADLINE}, env=env)
            return stack.enter_context(server)

        servers = dict(zip(ENDPOINTS, map(start, ENDPOINTS), strict=True))

        def ask(endpoints):
            futures = {
                (endpoint, request): pool.submit(outcome_of, servers[endpoint], request)
                for endpoint in endpoints
                for request in REQUESTS
            }
            return {case: future.result(LIMIT_SECONDS) for case, future in futures.items()}

        # Those that flood leave the threads of the others in this process little time.
        outcomes = ask(FAIL_AT_ONCE) | ask(ENDPOINTS.keys() - FAIL_AT_ONCE)
        logs = {endpoint: server.log.read_text() for endpoint, server in servers.items()}
        yield Run(outcomes, logs)


def each_case(endpoints=ENDPOINTS, requests=REQUESTS):
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param((endpoint, request), id=f"{endpoint.__name__}-{request}")
            for endpoint in endpoints
            for request in requests
        ],
    )


@each_case()
def test_request_ends_within_the_deadline(run, case):
    assert run.outcomes[case].seconds < DEADLINE + SLACK


@each_case()
def test_request_is_502_that_tells_the_fault(run, case):
    assert run.outcomes[case].status == 502
    assert re.search(ENDPOINTS[case[0]], run.outcomes[case].message)


@each_case(MAY_HAVE_CREATED, ["create"])
def test_create_that_may_have_arrived_is_not_known_and_names_the_tag(run, case):
    assert "not known" in run.outcomes[case].message
    assert "dcproxy:create=" in run.outcomes[case].message
    assert "Retry-After" not in run.outcomes[case].headers


@each_case(CERTAINLY_NOT_CREATED, ["create", "create with a key"])
def test_create_that_has_not_arrived_may_be_repeated(run, case):
    assert "not known" not in run.outcomes[case].message
    assert run.outcomes[case].headers["Retry-After"]


@each_case(requests=["show", "list", "delete", "create with a key"])
def test_request_that_may_be_repeated_has_retry_after(run, case):
    assert run.outcomes[case].headers["Retry-After"]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_fault_of_ec2_leaves_no_traceback_in_the_log(run, endpoint):
    assert "Traceback" not in run.logs[endpoint]
