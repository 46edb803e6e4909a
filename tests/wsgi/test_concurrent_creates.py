"""Many creates with one Idempotency-Key at the same moment, while EC2's reads lag by seconds.

They wait for each other in one worker.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import Random
from threading import Barrier

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.application import client_of
from tests.support.callers import CALLER, register_caller
from tests.support.clock import SharedClock
from tests.support.creation import EXECUTED, FAILED, KEY, VOLUME
from tests.support.ec2_model import LOST, EC2Model
from tests.support.package import Runtime, Settings, application

CALLERS = 16


class LaggingEC2(EC2Model):
    """Each list shows the snapshots as they were some seconds ago, each with a lag of its own."""

    def __init__(self, clock, random, lags, create_faults):
        super().__init__(create_faults, began=datetime.now(UTC))
        self.clock = clock
        self.random = random
        self.lags_of_lists = lags

    def add_snapshot(self, id, *args, **kwargs):
        super().add_snapshot(id, *args, **kwargs)
        self.snapshots[id].made_at = self.clock.monotonic()

    def DescribeSnapshots(self, parameters):  # noqa: N802
        self.seen_at = self.clock.monotonic() - self.random.uniform(*self.lags_of_lists)
        return super().DescribeSnapshots(parameters)

    def sees(self, record):
        return record.made_at <= self.seen_at


class Outcome:
    """What concurrent creates with one key have left, and what their clients were told."""

    def __init__(self, programmed_ec2, lags, create_faults):
        random = Random(1)
        clock = SharedClock(CALLERS)
        self.ec2 = programmed_ec2.respond = LaggingEC2(clock, random, lags, create_faults)
        runtime = Runtime(sleep=clock.sleep, monotonic=clock.monotonic, random=random)
        app = application(Settings(ec2_endpoint_url=programmed_ec2.url), runtime)
        barrier = Barrier(CALLERS)

        def create(_):
            client = client_of(app)
            barrier.wait(30)
            with clock.thread():
                return client.post(SNAPSHOTS, VOLUME, headers=KEY, expect_errors=True)

        with ThreadPoolExecutor(CALLERS) as pool:
            self.responses = list(pool.map(create, range(CALLERS)))
        self.seconds = clock.monotonic() - 1000


@pytest.fixture(scope="module")
def module_ec2(ec2_server):
    yield ec2_server.program()
    ec2_server.ec2 = None


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(((0, 0), []), id="no lag"),
        pytest.param(((2, 3), []), id="lag of 2 to 3 s"),
        pytest.param(((0, 0), [(LOST, EXECUTED)]), id="lost response"),
        pytest.param(((2, 3), [(FAILED, EXECUTED)]), id="lag of 2 to 3 s and a lost response"),
    ],
)
def outcome(request, module_ec2):
    return Outcome(module_ec2, *request.param)


def test_concurrent_creates_leave_one_snapshot(outcome):
    assert len(outcome.ec2.snapshots) == 1
    assert outcome.ec2.actions.count("CreateSnapshot") == 1


def test_concurrent_creates_name_the_snapshot(outcome):
    created = [response for response in outcome.responses if response.status_int == 201]
    assert {response.lxml.get("id") for response in created} == set(outcome.ec2.snapshots)
    assert len(created) >= CALLERS - 1


def test_concurrent_creates_end_before_the_deadline(outcome):
    assert outcome.seconds < Settings().deadline


def test_keys_of_others_do_not_wait(programmed_ec2):
    """Of another caller, in another region, or with another secret: each has its own turn."""
    clock = SharedClock(4)
    runtime = Runtime(sleep=clock.sleep, monotonic=clock.monotonic, random=Random(1))
    app = application(Settings(ec2_endpoint_url=programmed_ec2.url), runtime)
    ec2 = programmed_ec2.respond = EC2Model(began=datetime.now(UTC), lag=10_000)
    callers = [CALLER, CALLER, (CALLER[0], "other"), ("SOMEBODYELSE", "secret")]
    for caller in callers:
        register_caller(*caller)
    addresses = [SNAPSHOTS, "/api;provider=eu-west-1/storage_snapshots", SNAPSHOTS, SNAPSHOTS]

    def create(caller, address):
        with clock.thread():
            return client_of(app, caller).post(address, VOLUME, headers=KEY, status=201)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create, callers, addresses))
    assert len(ec2.snapshots) == 4
    assert clock.monotonic() - 1000 == pytest.approx(5)
