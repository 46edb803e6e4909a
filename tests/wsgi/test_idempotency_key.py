"""Repeated creates with one Idempotency-Key, when EC2's reads lag or it fails."""

import pytest

from tests.support.creation import DENIED, EXECUTED, FAILED, KEY, NOT_EXECUTED, id_of, message_of
from tests.support.ec2_model import LOST, not_executed
from tests.support.ec2_responses import error_response
from tests.support.package import CREATE_TAG, LOOK_DELAYS, SHOW_DELAYS

ALWAYS = 10_000
FIRST, SECOND = "snap-00000001", "snap-00000002"


@pytest.fixture
def ec2(scenario):
    """Give an EC2 with one snapshot of the key."""
    model = scenario.model()
    scenario.create(headers=KEY)
    model.actions.clear()
    scenario.sleeps.clear()
    return model


def test_first_create_is_answered_once_a_search_shows_its_snapshot(scenario):
    ec2 = scenario.model()
    assert id_of(scenario.create(headers=KEY)) == FIRST
    assert ec2.actions == ["DescribeSnapshots", "CreateSnapshot", "DescribeSnapshots"]
    assert scenario.sleeps == [SHOW_DELAYS[0]]


def test_first_create_is_answered_after_five_seconds_at_the_latest(scenario, caplog, increase_of):
    ec2 = scenario.model(lag=ALWAYS)
    assert id_of(scenario.create(headers=KEY)) == FIRST
    assert sum(scenario.sleeps) == 5
    assert f"{CREATE_TAG}={ec2.snapshots[FIRST].tags[CREATE_TAG]}" in caplog.text
    assert increase_of("dcproxy_creates_unsettled_total") == 1


def test_create_whose_searches_fail_is_answered_and_reported(scenario, increase_of):
    ec2 = scenario.model()
    faults = ec2.faults["DescribeSnapshots"]
    ec2.on_list = lambda: faults.extend([not_executed(DENIED)] * bool(ec2.snapshots))
    assert id_of(scenario.create(headers=KEY)) == FIRST
    assert increase_of("dcproxy_creates_unsettled_total") == 1


def test_repeated_create_is_one_search(scenario, ec2):
    assert id_of(scenario.create(headers=KEY)) == FIRST
    assert ec2.actions == ["DescribeSnapshots"]
    assert scenario.sleeps == []


def test_repeated_create_returns_the_oldest_snapshot_and_deletes_none(scenario, ec2):
    older = ec2.add_of_other_request(FIRST, -1)
    assert id_of(scenario.create(headers=KEY)) == older
    assert set(ec2.snapshots) == {FIRST, older}


@pytest.mark.parametrize("seconds", [-1, 1])
def test_snapshot_that_another_replica_makes_at_the_same_moment_is_reported(
    scenario, caplog, seconds
):
    ec2 = scenario.model()

    def make_another():
        if list(ec2.snapshots) == [FIRST]:
            ec2.add_of_other_request(FIRST, seconds)

    ec2.on_list = make_another
    oldest = id_of(scenario.create(headers=KEY))
    assert oldest == (FIRST if seconds > 0 else "snap-0000beef")
    assert "have the same Idempotency-Key" in caplog.text
    assert all(id in caplog.text for id in ec2.snapshots)
    assert len(ec2.snapshots) == 2
    assert id_of(scenario.create(headers=KEY)) == oldest


def test_create_of_another_replica_with_other_parameters_is_no_422_after_sending(scenario, ec2):
    ec2.empty_lists = 1
    assert id_of(scenario.create(headers=KEY, name="other")) == SECOND
    assert len(ec2.snapshots) == 2
    assert id_of(scenario.create(headers=KEY, name="other")) == SECOND
    assert id_of(scenario.create(headers=KEY)) == FIRST
    scenario.create(headers=KEY, name="third", status=422)


def test_failed_snapshot_ranks_after_a_younger_usable_one(scenario, ec2):
    failed = ec2.add_of_other_request(FIRST, -1)
    ec2.fail(failed)
    assert id_of(scenario.create(headers=KEY)) == FIRST


def test_create_after_a_failed_snapshot_makes_a_new_one(scenario, ec2):
    ec2.fail(FIRST)
    assert id_of(scenario.create(headers=KEY)) == SECOND
    assert id_of(scenario.create(headers=KEY)) == SECOND
    assert list(ec2.snapshots) == [FIRST, SECOND]


@pytest.mark.parametrize("fault", [None, LOST, FAILED])
def test_create_whose_snapshot_fails_at_once_is_502_that_names_it(scenario, increase_of, fault):
    """A repetition with the key makes another one."""
    ec2 = scenario.model((fault, EXECUTED))
    ec2.on_list = lambda: [ec2.fail(id) for id in ec2.snapshots if id == FIRST]
    response = scenario.create(headers=KEY, status=502)
    assert f"could not complete the snapshot {FIRST}" in message_of(response)
    assert "not known" not in message_of(response)
    assert response.headers["Retry-After"]
    assert list(ec2.snapshots) == [FIRST]
    assert increase_of("dcproxy_creates_unsettled_total") == 0
    assert id_of(scenario.create(headers=KEY)) == SECOND


@pytest.mark.parametrize("fault", [LOST, FAILED])
def test_snapshot_of_a_lost_response_is_found_and_answered(scenario, fault):
    ec2 = scenario.model((fault, EXECUTED))
    assert id_of(scenario.create(headers=KEY)) == FIRST
    assert ec2.actions == ["DescribeSnapshots", "CreateSnapshot", "DescribeSnapshots"]


@pytest.mark.parametrize("is_executed", [EXECUTED, NOT_EXECUTED])
def test_unknown_outcome_is_sent_once_and_may_be_repeated(scenario, increase_of, is_executed):
    ec2 = scenario.model((LOST, is_executed), lag=len(LOOK_DELAYS))
    response = scenario.create(headers=KEY, status=502)
    assert "It is not known whether EC2 has made a snapshot" in message_of(response)
    assert CREATE_TAG in message_of(response)
    assert response.headers["Retry-After"]
    assert ec2.actions.count("CreateSnapshot") == 1
    assert increase_of("dcproxy_creates_unsettled_total") == 1
    assert [id_of(scenario.create(headers=KEY))] == list(ec2.snapshots) == [FIRST]


def test_throttled_create_is_sent_again(scenario):
    throttled = error_response("RequestLimitExceeded", 503)
    ec2 = scenario.model((throttled, NOT_EXECUTED), (throttled, NOT_EXECUTED))
    assert id_of(scenario.create(headers=KEY)) == FIRST
    assert ec2.actions.count("CreateSnapshot") == 3


def test_nothing_is_sent_when_the_first_search_fails(scenario):
    ec2 = scenario.model()
    ec2.faults["DescribeSnapshots"] = [not_executed(DENIED)]
    scenario.create(headers=KEY, status=502)
    assert "CreateSnapshot" not in ec2.actions


@pytest.mark.parametrize(("times", "status"), [(1, 201), (9, 502)])
def test_snapshot_that_vanishes_from_the_search_is_not_a_404(scenario, times, status):
    """The search names no id: it is repeated like any read."""
    ec2 = scenario.model()
    vanished = not_executed(error_response("InvalidSnapshot.NotFound"))
    ec2.faults["DescribeSnapshots"] = [vanished] * times
    scenario.create(headers=KEY, status=status)
    assert len(ec2.snapshots) == (status == 201)
