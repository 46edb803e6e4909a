"""Creates of which EC2 may have made more snapshots than it shows."""

import re

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.application import background_jobs
from tests.support.creation import DENIED, EXECUTED, NOT_EXECUTED, VOLUME, id_of, message_of
from tests.support.ec2_model import LOST
from tests.support.ec2_responses import error_response
from tests.support.package import BACKGROUND_DELAYS, CREATE_TAG

NOT_FOUND = error_response("InvalidSnapshot.NotFound")
ANSWERED, LATE = "snap-00000002", "snap-00000001"
ALWAYS = 10_000


@pytest.fixture
def ec2(scenario):
    """Give an EC2 that loses its first response; its first snapshot is in no list."""
    return scenario.model((LOST, EXECUTED), lags=[ALWAYS, 0])


def show_late_snapshot(ec2, lists=0):
    """Let the lists contain the first snapshot, some lists from now on."""
    ec2.snapshots[LATE]["hidden"] = lists


def settle():
    [job] = background_jobs
    job()


def test_snapshot_that_ec2_shows_is_returned(scenario, ec2):
    assert id_of(scenario.create()) == ANSWERED


def test_possible_duplicate_is_logged_with_its_tag_before_the_response(scenario, ec2, caplog):
    """So that the line is there although the process may be killed before the job has run."""
    scenario.create()
    tag = ec2.snapshots[LATE]["tags"][CREATE_TAG]
    assert f"1 of at most 2 snapshots were found by the tag {CREATE_TAG}={tag}" in caplog.text


def test_possible_duplicate_is_counted(scenario, ec2, increase_of):
    scenario.create()
    assert increase_of("dcproxy_creates_unsettled_total") == 1


def test_create_with_all_of_its_snapshots_is_not_counted(scenario, increase_of):
    scenario.model((LOST, EXECUTED))
    scenario.create()
    assert increase_of("dcproxy_creates_unsettled_total") == 0
    assert background_jobs == []


def test_late_duplicate_is_deleted_although_it_is_older_than_the_response(scenario, ec2):
    scenario.create()
    show_late_snapshot(ec2, lists=2)
    settle()
    assert list(ec2.snapshots) == [ANSWERED]


def test_job_ends_when_nothing_is_left(scenario, ec2):
    scenario.create()
    show_late_snapshot(ec2, lists=2)
    ec2.actions.clear()
    settle()
    assert ec2.actions == ["DescribeSnapshots"] * 3 + ["DeleteSnapshot"]


def test_job_ends_after_its_last_delay(scenario, ec2):
    scenario.create()
    ec2.actions.clear()
    scenario.sleeps.clear()
    settle()
    assert ec2.actions == ["DescribeSnapshots"] * len(BACKGROUND_DELAYS)
    assert scenario.sleeps == list(BACKGROUND_DELAYS)
    assert list(ec2.snapshots) == [LATE, ANSWERED]


@pytest.mark.parametrize("fault", [NOT_FOUND, DENIED])
def test_duplicate_that_could_not_be_deleted_is_deleted_later(scenario, ec2, fault):
    scenario.create()
    show_late_snapshot(ec2)
    ec2.delete_faults = [(fault, NOT_EXECUTED)] * 2
    settle()
    assert list(ec2.snapshots) == [ANSWERED]


def test_job_goes_on_after_a_failed_search(scenario, ec2):
    scenario.create()
    show_late_snapshot(ec2)
    ec2.list_faults = [DENIED] * 2
    settle()
    assert list(ec2.snapshots) == [ANSWERED]


def test_job_never_deletes_the_snapshot_of_the_response_when_it_fails(scenario, ec2):
    """The client knows its id; the late one would be usable, but nobody knows it."""
    scenario.create()
    show_late_snapshot(ec2)
    ec2.fail(ANSWERED)
    settle()
    assert ANSWERED in ec2.snapshots


def test_job_searches_as_the_caller(scenario, ec2, programmed_ec2):
    scenario.client.authorization = ("Basic", ("SOMEBODY", "secret"))
    scenario.create()
    programmed_ec2.requests.clear()
    settle()
    assert {request.access_key_id for request in programmed_ec2.requests} == {"SOMEBODY"}


def test_snapshots_of_an_unknown_outcome_are_settled_after_the_response(scenario):
    """Three creates were lost, and all of them made a snapshot that appears later."""
    ec2 = scenario.model(*[(LOST, EXECUTED)] * 3, lag=ALWAYS)
    response = scenario.create(status=502)
    tag = re.search(rf"{CREATE_TAG}=(\w+)", message_of(response))[1]
    for snapshot in ec2.snapshots.values():
        snapshot["hidden"] = 0
    settle()
    [kept] = ec2.snapshots.values()
    assert kept["tags"][CREATE_TAG] == tag


def test_log_line_of_a_request_does_not_count_retries_of_its_job(scenario, ec2, caplog):
    caplog.set_level("INFO", "dcproxy.requests")
    scenario.client.post(SNAPSHOTS, VOLUME, status=201)
    retries = caplog.records[-1].retries
    show_late_snapshot(ec2)
    ec2.list_faults = [error_response("InternalError", 500)]
    settle()
    assert [record.retries for record in caplog.records if record.name == "dcproxy.requests"] == [
        retries
    ]
