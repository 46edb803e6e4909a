"""A repetition finds what a server made that was killed or stopped in the middle of a create.

All creates run at once, before the first test: each has a server of its own, which is interrupted.
"""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from itertools import product
from typing import NamedTuple

import pytest
from lxml import etree

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import basic_authorization
from tests.support.creation import EXECUTED
from tests.support.ec2_model import LOST, EC2Model
from tests.support.ec2_server import programmed_ec2_server
from tests.support.servers import LIMIT_SECONDS, children, gunicorn, wait_until

CREATE = f"{SNAPSHOTS}?volume_id=vol-12345678"


class Account(EC2Model):
    """An EC2 that stops at one of its requests, until ``proceed`` is set.

    ``stop`` is the number of the request; ``is_executed``: it stops before its response, and
    not before it executes the request.
    """

    def __init__(self, stop, is_executed=True, create_faults=()):
        super().__init__(create_faults)
        self.stop = stop
        self.is_executed = is_executed
        self.numbers_of_requests = iter(range(10_000))
        self.stopped, self.proceed = threading.Event(), threading.Event()

    def __call__(self, request):
        if next(self.numbers_of_requests) != self.stop:
            return super().__call__(request)
        response = super().__call__(request) if self.is_executed else None
        self.stopped.set()
        self.proceed.wait(LIMIT_SECONDS)
        return response or super().__call__(request)


def kill_all(server):
    workers = children(server.process.pid)
    server.process.kill()
    for worker in workers:
        os.kill(worker, signal.SIGKILL)


def kill_worker(server):
    [worker] = children(server.process.pid)
    os.kill(worker, signal.SIGKILL)


def stop_shortly(server):
    """Stop with the ``graceful_timeout`` of one second that the servers of these tests have."""
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(LIMIT_SECONDS)


INTERRUPTIONS = (kill_all, kill_worker, stop_shortly)


class Moment(NamedTuple):
    name: str
    headers: dict[str, str]
    account: dict


KEY = {"Idempotency-Key": '"k"'}
LATER = Moment("create that EC2 executes later", KEY, {"stop": 1, "is_executed": False})
WITH_KEY = (
    Moment("search before the create", KEY, {"stop": 0}),
    Moment("create that EC2 has executed", KEY, {"stop": 1}),
    Moment("search after the create", KEY, {"stop": 2}),
)
WITHOUT_KEY = (
    Moment("create", {}, {"stop": 0}),
    Moment("search after a lost response", {}, {"stop": 1, "create_faults": [(LOST, EXECUTED)]}),
)


class Outcome(NamedTuple):
    first: object
    repeat: object
    snapshots: list[str]


def send(server, user, headers):
    """Create a snapshot; give its id, the status of another response, or the error."""
    headers = {"Authorization": basic_authorization(f"{user}:secret"), **headers}
    try:
        response, body = server.get(CREATE, headers, method="POST")
    except (OSError, HTTPException) as error:
        return error
    return etree.fromstring(body).get("id") if response.status == 201 else response.status


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Interrupt a server at each moment; with a key, repeat the request at another server."""
    cases = list(product((*WITH_KEY, *WITHOUT_KEY, LATER), INTERRUPTIONS))
    accounts = {f"USER{n}": Account(**moment.account) for n, (moment, _) in enumerate(cases)}
    users = dict(zip([(m.name, i) for m, i in cases], accounts, strict=True))
    folder = tmp_path_factory.mktemp
    threads = ("--worker-class=gthread", "--threads=32", "--graceful-timeout=1")

    def run(moment, interrupt):
        user = users[moment.name, interrupt]
        account = accounts[user]
        with gunicorn(folder("interrupted"), ec2.url, *threads) as server:
            first = pool.submit(send, server, user, moment.headers)
            assert account.stopped.wait(LIMIT_SECONDS)
            interrupt(server)
            account.proceed.set()
            if interrupt is kill_worker:
                wait_until(lambda: children(server.process.pid), "the next worker")
            repeat = send(other, user, moment.headers) if moment.headers else None
            return Outcome(first.result(), repeat, list(account.snapshots))

    with (
        programmed_ec2_server() as ec2,
        gunicorn(folder("other"), ec2.url, *threads) as other,
        ThreadPoolExecutor(2 * len(cases)) as pool,
        ThreadPoolExecutor(6) as runs,
    ):
        ec2.respond = lambda request: accounts[request.access_key_id](request)
        futures = {(m.name, i): runs.submit(run, m, i) for m, i in cases}
        return {case: future.result() for case, future in futures.items()}


def each_case(moments):
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param((moment.name, interrupt), id=f"{interrupt.__name__}: {moment.name}")
            for moment, interrupt in product(moments, INTERRUPTIONS)
        ],
    )


@each_case(WITH_KEY)
def test_interrupted_create_and_its_repeat_leave_one_snapshot(outcomes, case):
    assert outcomes[case].snapshots == [outcomes[case].repeat]


@each_case([LATER])
def test_repeat_names_a_snapshot_that_stays_though_ec2_makes_another_meanwhile(outcomes, case):
    assert outcomes[case].repeat in outcomes[case].snapshots
    assert len(outcomes[case].snapshots) <= 2


@each_case(WITHOUT_KEY)
def test_interrupted_create_leaves_one_snapshot(outcomes, case):
    assert len(outcomes[case].snapshots) == 1


@each_case((*WITH_KEY, *WITHOUT_KEY, LATER))
def test_client_of_an_interrupted_create_gets_no_response(outcomes, case):
    assert isinstance(outcomes[case].first, OSError | HTTPException)


def test_create_that_ends_before_the_graceful_timeout_is_201(tmp_path):
    account = Account(stop=0)
    with (
        programmed_ec2_server() as ec2,
        gunicorn(tmp_path, ec2.url, "--worker-class=gthread", "--threads=2") as server,
        ThreadPoolExecutor(1) as pool,
    ):
        ec2.respond = account
        response = pool.submit(send, server, "USER", {})
        assert account.stopped.wait(LIMIT_SECONDS)
        server.process.send_signal(signal.SIGTERM)
        account.proceed.set()
        assert [response.result()] == list(account.snapshots)
        assert server.process.wait(LIMIT_SECONDS) == 0
