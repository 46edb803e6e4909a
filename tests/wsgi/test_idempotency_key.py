"""Repeated and concurrent creates with one Idempotency-Key, when EC2's reads lag or it fails."""

from datetime import UTC, datetime

import pytest

from tests.support.application import background_jobs
from tests.support.creation import EXECUTED, KEY, id_of, message_of
from tests.support.ec2_model import LOST
from tests.support.package import CREATE_TAG, SETTLE_SECONDS

ALWAYS = 10_000


@pytest.fixture
def ec2(scenario):
    """Give an EC2 with one snapshot of the key, which is not recent."""
    model = scenario.model()
    scenario.create(headers=KEY)
    model.actions.clear()
    scenario.sleeps.clear()
    return model


FIRST = "snap-00000001"


def test_repeated_create_searches_again_when_no_older_snapshot_can_be_hidden(scenario, ec2):
    assert id_of(scenario.create(headers=KEY)) == FIRST
    assert ec2.actions == ["DescribeSnapshots"] * 2
    # The virtual clock goes on a little while dcproxy works.
    assert sum(scenario.sleeps) == pytest.approx(SETTLE_SECONDS, abs=0.5)


def test_older_snapshot_that_appears_meanwhile_is_returned(scenario, ec2):
    older = ec2.add_of_other_request(FIRST, -1, hidden=1)
    assert id_of(scenario.create(headers=KEY)) == older


def test_snapshots_of_other_requests_are_not_deleted(scenario, ec2):
    ec2.add_of_other_request(FIRST, -1, hidden=1)
    scenario.create(headers=KEY)
    assert "DeleteSnapshot" not in ec2.actions
    assert len(ec2.snapshots) == 2


def test_younger_snapshot_that_was_made_all_the_same_is_deleted(scenario, ec2):
    ec2.empty_lists = 1
    assert id_of(scenario.create(headers=KEY)) == FIRST
    assert ec2.actions.count("CreateSnapshot") == 1
    assert list(ec2.snapshots) == [FIRST]


def test_failed_snapshot_ranks_after_a_younger_usable_one(scenario, ec2):
    failed = ec2.add_of_other_request(FIRST, -1)
    ec2.fail(failed)
    assert id_of(scenario.create(headers=KEY)) == FIRST


def test_create_after_a_failed_snapshot_makes_a_new_one(scenario, ec2):
    ec2.fail(FIRST)
    assert id_of(scenario.create(headers=KEY)) == "snap-00000002"


def test_failed_snapshot_with_a_key_is_kept(scenario, ec2):
    ec2.fail(FIRST)
    scenario.create(headers=KEY)
    assert list(ec2.snapshots) == [FIRST, "snap-00000002"]


def test_new_snapshot_after_a_failed_one_is_returned_again(scenario, ec2):
    ec2.fail(FIRST)
    scenario.create(headers=KEY)
    assert id_of(scenario.create(headers=KEY)) == "snap-00000002"


def test_failed_state_is_final(scenario, ec2):
    """A lagging read may still show a state from before the failure."""
    ec2.fail(FIRST)
    failed_item = ec2.snapshots[FIRST]["item"]

    def recover():
        ec2.snapshots[FIRST]["item"] = failed_item.replace(">error<", ">pending<")

    scenario.create(headers=KEY)
    ec2.actions.clear()
    ec2.on_list = lambda: recover() if ec2.actions.count("DescribeSnapshots") > 1 else None
    assert id_of(scenario.create(headers=KEY)) == "snap-00000002"


@pytest.mark.parametrize("lists", [0, 1])
def test_create_whose_snapshot_fails_is_502_that_names_it(scenario, lists):
    ec2 = scenario.model()
    fail_at = 1 + lists  # after the search before the create

    def on_list():
        if ec2.actions.count("DescribeSnapshots") > fail_at and ec2.snapshots:
            ec2.fail(FIRST)

    ec2.on_list = on_list
    response = scenario.create(headers=KEY, status=502)
    assert f"could not complete the snapshot {FIRST}" in message_of(response)
    assert response.headers["Retry-After"]


def test_create_whose_snapshot_fails_deletes_nothing(scenario):
    ec2 = scenario.model()
    ec2.on_list = lambda: [ec2.fail(id) for id in ec2.snapshots]
    scenario.create(headers=KEY, status=502)
    for settle in background_jobs:
        settle()
    assert list(ec2.snapshots) == [FIRST]


def test_failed_snapshot_of_a_lost_response_without_a_key_is_replaced(scenario):
    ec2 = scenario.model((LOST, EXECUTED))
    ec2.on_list = lambda: ec2.fail(FIRST)
    assert id_of(scenario.create()) == "snap-00000002"
    assert list(ec2.snapshots) == ["snap-00000002"]


@pytest.fixture
def recent_ec2(scenario):
    """Give an EC2 whose only snapshot of the key is recent and has failed."""
    model = scenario.model(began=datetime.now(UTC))
    scenario.create(headers=KEY)
    model.fail(FIRST)
    return model


def test_recent_snapshot_of_another_request_after_a_failed_one_is_in_progress(scenario, recent_ec2):
    """Its maker may not know yet of the failure, and delete its own."""
    recent_ec2.add_of_other_request(FIRST, 1)
    response = scenario.create(headers=KEY, status=502)
    assert "in progress" in message_of(response)
    assert response.headers["Retry-After"]


def test_recent_snapshot_of_the_request_itself_after_a_failed_one_is_returned(scenario, recent_ec2):
    assert id_of(scenario.create(headers=KEY)) == "snap-00000002"


def test_recent_snapshot_of_another_request_without_a_failed_one_is_returned(scenario):
    scenario.model(began=datetime.now(UTC))
    assert id_of(scenario.create(headers=KEY)) == id_of(scenario.create(headers=KEY))


@pytest.fixture
def hidden_create(scenario):
    """Give the EC2 and the response of a create whose snapshot EC2 does not show in time."""
    model = scenario.model(lag=ALWAYS)
    return model, scenario.create(headers=KEY, status=502)


def test_create_that_ec2_does_not_show_in_time_is_not_known(hidden_create):
    _, response = hidden_create
    assert "not known" in message_of(response)
    assert CREATE_TAG in message_of(response)


def test_create_that_ec2_does_not_show_in_time_may_be_repeated(hidden_create):
    _, response = hidden_create
    assert response.headers["Retry-After"]


def test_create_that_ec2_does_not_show_in_time_is_sent_once(hidden_create):
    ec2, _ = hidden_create
    assert ec2.actions.count("CreateSnapshot") == 1


def test_snapshot_that_ec2_shows_late_is_kept_and_returned_to_a_repeat(scenario, hidden_create):
    ec2, _ = hidden_create
    ec2.snapshots[FIRST]["hidden"] = 1
    [settle] = background_jobs
    settle()
    assert id_of(scenario.create(headers=KEY)) == FIRST
    assert list(ec2.snapshots) == [FIRST]


def test_snapshot_that_ec2_shows_late_is_deleted_where_another_is_older(hidden_create):
    ec2, _ = hidden_create
    ec2.snapshots[FIRST]["hidden"] = 1
    older = ec2.add_of_other_request(FIRST, -1)
    [settle] = background_jobs
    settle()
    assert list(ec2.snapshots) == [older]
