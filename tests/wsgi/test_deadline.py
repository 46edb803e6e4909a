"""The option ``deadline`` on a virtual clock: what is still begun, and what each page may take."""

import pytest

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.creation import FAILED, KEY, VOLUME, message_of
from tests.support.ec2_model import INSTANCE, EC2Model
from tests.support.ec2_responses import snapshot_item, snapshots_page
from tests.support.responders import always

DEADLINE = 15
"""The shortest one that is allowed."""

RESPONSE_SECONDS = 1
"""What dcproxy keeps to write the response."""


@pytest.fixture
def client(client_with):
    return client_with(deadline=DEADLINE)


def after(seconds, respond, sleeps):
    """Respond after some seconds of the virtual clock."""

    def respond_late(request):
        sleeps.append(seconds)
        return respond(request)

    return respond_late


def pages(request):
    """Respond with four pages of one snapshot each."""
    number = int(request.parameters.get("NextToken", "1"))
    item = snapshot_item(f"snap-0000000{number}")
    return snapshots_page(item, str(number + 1) if number < 4 else "")


def test_each_page_of_a_list_has_the_limit_again(client, programmed_ec2, sleeps):
    programmed_ec2.respond = after(12, pages, sleeps)
    response = client.get(SNAPSHOTS, status=200)
    assert response.text.count("<storage_snapshot ") == 4
    assert sum(sleeps) == 48


def test_later_page_that_takes_longer_than_the_limit_is_not_repeated(
    client, programmed_ec2, sleeps
):
    def respond(request):
        if "NextToken" not in request.parameters:
            return pages(request)
        return after(DEADLINE, always(FAILED), sleeps)(request)

    programmed_ec2.respond = respond
    with pytest.raises(ConnectionError):
        client.get(SNAPSHOTS)
    assert len(programmed_ec2.requests) == 2


@pytest.mark.parametrize("method", ["get", "delete"])
def test_attempt_is_not_begun_with_less_than_a_tenth_of_a_second_left(
    client, programmed_ec2, sleeps, method
):
    left = 0.09
    late = after(DEADLINE - RESPONSE_SECONDS - left, always(FAILED), sleeps)
    programmed_ec2.respond = late
    getattr(client, method)(SNAPSHOT, status=502)
    assert len(programmed_ec2.requests) == 1


def test_attempts_end_before_the_deadline(client_with, programmed_ec2, sleeps):
    """Each takes 3 s, the delays between them are random."""
    programmed_ec2.respond = after(3, always(FAILED), sleeps)
    client_with(deadline=DEADLINE, retry_attempts=10).get(SNAPSHOT, status=502)
    assert sum(sleeps) - 3 < DEADLINE - RESPONSE_SECONDS
    assert 2 <= len(programmed_ec2.requests) <= 5


def test_search_that_takes_too_long_leaves_no_time_for_a_create(client, programmed_ec2, sleeps):
    programmed_ec2.respond = after(6, always(snapshots_page("")), sleeps)
    response = client.post(SNAPSHOTS, VOLUME, headers=KEY, status=502)
    assert [request.action for request in programmed_ec2.requests] == ["DescribeSnapshots"]
    assert "was not called" in message_of(response)
    assert "not known" not in message_of(response)


def test_create_leaves_time_to_search_for_its_snapshot(client, programmed_ec2, sleeps):
    """It is not repeated when a repetition might take the time for the last searches."""

    def respond(request):
        if request.action == "DescribeSnapshots":
            return snapshots_page("")
        return after(5, always(FAILED), sleeps)(request)

    programmed_ec2.respond = respond
    response = client.post(SNAPSHOTS, VOLUME, status=502)
    actions = [request.action for request in programmed_ec2.requests]
    assert actions == ["CreateSnapshot"] + ["DescribeSnapshots"] * 3
    assert "not known" in message_of(response)


def test_attach_leaves_time_to_look_at_the_volume(client, programmed_ec2, sleeps):
    """It is not repeated when a repetition might take the time for the last looks."""
    volumes = EC2Model()
    address = f"/api/storage_volumes/{volumes.add_volume()}/attach"

    def respond(request):
        if request.action == "AttachVolume":
            return after(7, always(FAILED), sleeps)(request)
        return volumes(request)

    programmed_ec2.respond = respond
    given = {"instance_id": INSTANCE, "device": "/dev/sdf"}
    response = client.post(address, given, status=502)
    actions = [request.action for request in programmed_ec2.requests]
    assert actions == ["DescribeVolumes", "AttachVolume"] + ["DescribeVolumes"] * 3
    assert "not known" in message_of(response)


def test_create_of_a_volume_is_not_repeated_after_the_deadline(client, programmed_ec2, sleeps):
    programmed_ec2.respond = after(DEADLINE, always(FAILED), sleeps)
    given = {"realm_id": "us-east-1a"}
    response = client.post("/api/storage_volumes", given, status=502)
    assert len(programmed_ec2.requests) == 1
    assert "not known" in message_of(response)
