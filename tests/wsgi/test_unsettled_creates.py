"""Creates without a key of which EC2 may have made more snapshots than it shows."""

import re

import pytest

from tests.support.creation import DENIED, EXECUTED, FAILED, NOT_EXECUTED, id_of, message_of
from tests.support.ec2_model import LOST
from tests.support.ec2_responses import error_response
from tests.support.package import CREATE_TAG

FIRST, SECOND = "snap-00000001", "snap-00000002"
ALWAYS = 10_000
NOT_FOUND = error_response("InvalidSnapshot.NotFound")


@pytest.fixture
def ec2(scenario):
    """Give an EC2 that loses its first response; its first snapshot is in no list."""
    return scenario.model((LOST, EXECUTED), lags=[ALWAYS, 0])


@pytest.fixture
def unsettled(increase_of):
    return lambda: increase_of("dcproxy_creates_unsettled_total")


def test_snapshot_that_ec2_returned_is_answered(scenario, ec2):
    assert id_of(scenario.create()) == SECOND
    assert list(ec2.snapshots) == [FIRST, SECOND]


def test_possible_duplicate_is_logged_with_its_tag_and_counted(scenario, ec2, caplog, unsettled):
    scenario.create()
    tag = ec2.snapshots[FIRST].tags[CREATE_TAG]
    assert "1 of at most 2 snapshots were found" in caplog.text
    assert f"{CREATE_TAG}={tag}" in caplog.text
    assert unsettled() == 1


def test_create_that_was_sent_twice_is_searched_once_more(scenario, ec2):
    scenario.create()
    assert ec2.actions == [
        "CreateSnapshot",
        *["DescribeSnapshots"] * 3,
        "CreateSnapshot",
        "DescribeSnapshots",
    ]


def test_create_with_all_of_its_snapshots_is_not_reported(scenario, unsettled):
    scenario.model((LOST, EXECUTED))
    scenario.create()
    assert unsettled() == 0


def test_duplicate_that_was_deleted_is_not_reported(scenario, unsettled):
    ec2 = scenario.model((LOST, EXECUTED), lags=[3, 0])
    assert [id_of(scenario.create())] == list(ec2.snapshots) == [FIRST]
    assert unsettled() == 0


@pytest.mark.parametrize("fault", [NOT_FOUND, DENIED])
def test_duplicate_that_cannot_be_deleted_is_reported(scenario, caplog, unsettled, fault):
    ec2 = scenario.model((LOST, EXECUTED), lags=[3, 0])
    ec2.faults["DeleteSnapshot"] = [(fault, NOT_EXECUTED)]
    assert id_of(scenario.create()) == FIRST
    assert f"the duplicate snapshot {SECOND} could not be deleted" in caplog.text
    assert unsettled() == 1


def test_failed_snapshot_is_deleted_in_favour_of_a_usable_one(scenario):
    ec2 = scenario.model((LOST, EXECUTED), lags=[3, 0])
    ec2.on_list = lambda: ec2.fail(FIRST)
    assert [id_of(scenario.create())] == list(ec2.snapshots) == [SECOND]


@pytest.mark.parametrize("fault", [LOST, FAILED])
def test_failed_snapshot_of_a_lost_response_is_502_that_names_it(scenario, unsettled, fault):
    ec2 = scenario.model((fault, EXECUTED))
    ec2.on_list = lambda: ec2.fail(FIRST)
    response = scenario.create(status=502)
    assert f"could not complete the snapshot {FIRST}" in message_of(response)
    assert "not known" not in message_of(response)
    assert list(ec2.snapshots) == [FIRST]
    assert unsettled() == 0


def test_failed_snapshot_beside_one_that_no_search_shows_is_an_unknown_outcome(
    scenario, ec2, unsettled
):
    ec2.on_list = lambda: [ec2.fail(id) for id in ec2.snapshots if id == SECOND]
    message = message_of(scenario.create(status=502))
    assert f"could not complete the snapshot {SECOND}" in message
    assert "not known whether EC2 has made another one" in message
    assert ec2.snapshots[FIRST].tags[CREATE_TAG] in message
    assert unsettled() == 1


def test_one_of_several_failed_snapshots_is_kept_and_named(scenario):
    ec2 = scenario.model((LOST, EXECUTED), lags=[3, 0])
    ec2.on_list = lambda: [ec2.fail(id) for id in ec2.snapshots]
    [kept] = re.findall("snap-[0-9a-f]+", message_of(scenario.create(status=502)))
    assert list(ec2.snapshots) == [kept]


def test_create_is_answered_although_the_last_search_fails(scenario, ec2, unsettled):
    def fail_when_sent_twice():
        if len(ec2.snapshots) == 2:
            ec2.faults["DescribeSnapshots"] = [(DENIED, NOT_EXECUTED)]

    ec2.on_list = fail_when_sent_twice
    assert id_of(scenario.create()) == SECOND
    assert unsettled() == 1


def test_unknown_outcome_is_reported(scenario, caplog, unsettled):
    ec2 = scenario.model(*[(LOST, EXECUTED)] * 3, lag=ALWAYS)
    response = scenario.create(status=502)
    [tag] = {snapshot.tags[CREATE_TAG] for snapshot in ec2.snapshots.values()}
    assert re.search(rf"{CREATE_TAG}=(\w+)", message_of(response))[1] == tag
    assert f"{CREATE_TAG}={tag}" in caplog.text
    assert unsettled() == 1
