"""Many creates with one Idempotency-Key at the same moment, while EC2's reads lag by seconds."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from random import Random
from threading import Barrier

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.application import client_of
from tests.support.clock import SharedClock
from tests.support.creation import EXECUTED, FAILED, KEY, VOLUME
from tests.support.ec2_model import LOST, EC2Model
from tests.support.package import Runtime, Settings, application

CALLERS = 64


class LaggingEC2(EC2Model):
    """Each list shows the snapshots as they were some seconds ago, each with a lag of its own."""

    def __init__(self, clock, random, lags, create_faults):
        super().__init__(create_faults, began=datetime.now(UTC))
        self.clock = clock
        self.random = random
        self.shortest_lag, self.longest_lag = lags
        self.created = {}

    def add(self, id, *args, **kwargs):
        super().add(id, *args, **kwargs)
        self.created[id] = self.clock.monotonic()

    def DescribeSnapshots(self, parameters):  # noqa: N802
        seen_at = self.clock.monotonic() - self.random.uniform(self.shortest_lag, self.longest_lag)
        for id, snapshot in self.snapshots.items():
            snapshot["hidden"] = self.created[id] > seen_at
        return super().DescribeSnapshots(parameters)


class Outcome:
    """What concurrent creates with one key have left, and what their clients were told."""

    def __init__(self, programmed_ec2, lags, create_faults):
        random = Random(1)
        clock = SharedClock(CALLERS)
        self.jobs = []
        self.ec2 = programmed_ec2.respond = LaggingEC2(clock, random, lags, create_faults)
        runtime = Runtime(
            sleep=clock.sleep,
            monotonic=clock.monotonic,
            random=random,
            run_in_background=self.jobs.append,
        )
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


LOST_RESPONSES = [(LOST, EXECUTED), (FAILED, EXECUTED), (None, EXECUTED)] * 8


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(((2, 3), []), id="lag of 2 to 3 s"),
        pytest.param(((2, 3), LOST_RESPONSES), id="lag of 2 to 3 s and lost responses"),
        pytest.param(((0, 4.9), []), id="lags that differ by almost 5 s"),
        pytest.param(((10, 14.9), LOST_RESPONSES), id="lag of 10 to 15 s and lost responses"),
    ],
)
def outcome(request, module_ec2):
    return Outcome(module_ec2, *request.param)


def test_concurrent_creates_leave_one_snapshot(outcome):
    for settle in outcome.jobs:
        settle()
    assert len(outcome.ec2.snapshots) == 1


def test_concurrent_creates_name_the_snapshot_that_stays(outcome):
    created = [response for response in outcome.responses if response.status_int == 201]
    assert {response.lxml.get("id") for response in created} == set(outcome.ec2.snapshots)


def test_concurrent_creates_are_created_or_may_be_repeated(outcome):
    """Never 409: Deltacloud's Ruby client would not repeat it."""
    for response in outcome.responses:
        assert response.status_int == 201 or response.headers["Retry-After"]
    assert {response.status_int for response in outcome.responses} <= {201, 502}


def test_concurrent_creates_end_before_the_deadline(outcome):
    assert outcome.seconds < Settings().deadline
