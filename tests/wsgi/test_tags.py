"""Tags that an account requires: the options ``tags`` and ``copy_tags``."""

import pytest

from tests.support.application import client_of, shared_application
from tests.support.creation import DENIED, EXECUTED, KEY, NOT_EXECUTED, id_of, message_of
from tests.support.ec2_model import LOST, EC2Model
from tests.support.ec2_responses import error_response, xml_response
from tests.support.package import CREATE_TAG, REQUEST_TAG

TAGS = (("CostCentre", "42"), ("Owner", "backup"))
OF_CREATE = {CREATE_TAG, REQUEST_TAG}
VOLUMES = "/api/storage_volumes"


@pytest.fixture
def client(scenario):
    return scenario.client_with(tags=TAGS)


@pytest.fixture
def copying_client(scenario):
    return scenario.client_with(copy_tags=True)


def tags_of(model, response):
    """Give the tags of a created snapshot, without those of its create."""
    tags = model.snapshots[id_of(response)].tags
    return {key: value for key, value in tags.items() if key not in OF_CREATE}


def test_tags_of_the_operator_are_in_the_call_that_makes_a_snapshot(scenario, client):
    ec2 = scenario.model()
    made = scenario.create(client=client, name="weekly")
    assert tags_of(ec2, made) == {**dict(TAGS), "Name": "weekly"}
    assert ec2.snapshots[id_of(made)].tags.keys() >= OF_CREATE
    assert ec2.actions == ["CreateSnapshot"]


def test_tags_of_the_operator_are_in_the_call_that_makes_a_volume(client, programmed_ec2):
    programmed_ec2.respond = model = EC2Model()
    given = {"realm_id": "us-east-1b", "name": "restored"}
    id = id_of(client.post(VOLUMES, given, status=201))
    assert model.volumes[id].tags == {**dict(TAGS), "Name": "restored"}
    assert model.actions == ["CreateVolume"]


def test_name_of_the_request_wins_over_the_tag_of_the_operator(scenario):
    ec2 = scenario.model()
    client = scenario.client_with(tags=(("Name", "default"),))
    assert tags_of(ec2, scenario.create(client=client)) == {"Name": "default"}
    assert tags_of(ec2, scenario.create(client=client, name="mine")) == {"Name": "mine"}


def test_tags_are_set_where_create_tag_is_off(scenario):
    ec2 = scenario.model()
    client = scenario.client_with(tags=TAGS, create_tag=False)
    scenario.create(client=client)
    [snapshot] = ec2.snapshots.values()
    assert snapshot.tags == dict(TAGS)


def test_repeated_create_has_the_tags_too(scenario, client):
    ec2 = scenario.model((LOST, NOT_EXECUTED))
    made = scenario.create(client=client)
    assert tags_of(ec2, made) == dict(TAGS)
    assert ec2.actions.count("CreateSnapshot") == 2


def test_tags_of_the_operator_are_not_part_of_an_idempotency_key(scenario, client):
    ec2 = scenario.model()
    first = scenario.create(headers=KEY)
    assert id_of(scenario.create(headers=KEY, client=client)) == id_of(first)
    assert len(ec2.snapshots) == 1


def test_tags_of_the_operator_are_not_dropped_for_a_caller_who_may_not_tag(scenario, client):
    ec2 = scenario.model((DENIED, NOT_EXECUTED))
    message = message_of(scenario.create(client=client, status=502))
    assert message.startswith(
        "UnauthorizedOperation: EC2 says no. "
        "The tags CostCentre, Owner also need the permission ec2:CreateTags."
    )
    assert ec2.actions == ["CreateSnapshot"]


def test_tags_of_the_operator_are_not_dropped_where_the_cloud_refuses_them(scenario, client):
    ec2 = scenario.model((error_response("UnknownParameter"), NOT_EXECUTED))
    message = message_of(scenario.create(client=client, status=502))
    assert message.startswith("UnknownParameter: EC2 says no. (X-Request-Id: ")
    assert ec2.snapshots == {}


def test_tags_of_the_volume_are_copied_in_the_call_that_makes_the_snapshot(
    scenario, copying_client
):
    ec2 = scenario.model()
    ec2.add_volume(id="vol-12345678", tags={"Stage": "production", "Name": "database"})
    made = scenario.create(client=copying_client)
    assert tags_of(ec2, made) == {"Stage": "production", "Name": "database"}
    assert ec2.actions == ["DescribeVolumes", "CreateSnapshot"]


def test_name_of_the_request_wins_over_that_of_the_volume(scenario, copying_client):
    ec2 = scenario.model()
    ec2.add_volume(id="vol-12345678", tags={"Stage": "production", "Name": "database"})
    made = scenario.create(client=copying_client, name="weekly")
    assert tags_of(ec2, made) == {"Stage": "production", "Name": "weekly"}


def test_tags_of_the_operator_win_over_those_of_the_volume(scenario):
    ec2 = scenario.model()
    ec2.add_volume(id="vol-12345678", tags={"Owner": "somebody", "Stage": "production"})
    made = scenario.create(client=scenario.client_with(tags=TAGS, copy_tags=True))
    assert tags_of(ec2, made) == {**dict(TAGS), "Stage": "production"}


@pytest.mark.parametrize("key", ["aws:backup:source-resource", "AWS:x", CREATE_TAG, "dcproxy:x"])
def test_reserved_tags_of_the_volume_are_left_out(scenario, copying_client, key):
    ec2 = scenario.model()
    ec2.add_volume(id="vol-12345678", tags={key: "x", "Stage": "production"})
    assert tags_of(ec2, scenario.create(client=copying_client)) == {"Stage": "production"}


@pytest.mark.parametrize("create_tag", [True, False])
def test_snapshot_has_at_most_50_tags_and_ours_come_first(scenario, create_tag):
    ec2 = scenario.model()
    ec2.add_volume(id="vol-12345678", tags={f"tag-{number:02}": "x" for number in range(50)})
    client = scenario.client_with(tags=TAGS, copy_tags=True, create_tag=create_tag)
    scenario.create(client=client, name="weekly")
    [snapshot] = ec2.snapshots.values()
    assert len(snapshot.tags) == 50
    ours = {"Name": "weekly"} | dict(TAGS)
    assert snapshot.tags.items() >= ours.items()
    assert snapshot.tags.keys() >= OF_CREATE or not create_tag


def test_volume_that_cannot_be_read_fails_the_create_with_the_answer_of_ec2(
    scenario, programmed_ec2, copying_client
):
    scenario.model().DescribeVolumes = lambda parameters: error_response("InvalidVolume.NotFound")
    message = message_of(scenario.create(client=copying_client, status=404))
    assert message.startswith("InvalidVolume.NotFound: EC2 says no.")
    assert [request.action for request in programmed_ec2.requests] == ["DescribeVolumes"]


def test_caller_who_may_not_read_volumes_creates_none_without_their_tags(scenario, copying_client):
    ec2 = scenario.model()
    ec2.DescribeVolumes = lambda parameters: DENIED
    message = message_of(scenario.create(client=copying_client, status=502))
    assert message.startswith("UnauthorizedOperation: EC2 says no.")
    assert ec2.snapshots == {}


def test_list_of_volumes_without_the_volume_fails_the_create(scenario, copying_client):
    ec2 = scenario.model()
    ec2.DescribeVolumes = lambda parameters: xml_response("DescribeVolumesResponse", "<volumeSet/>")
    message = message_of(scenario.create(client=copying_client, status=502))
    assert "the volume is missing" in message
    assert ec2.snapshots == {}


def test_volume_is_not_read_for_a_key_whose_snapshot_exists(scenario, copying_client):
    ec2 = scenario.model()
    ec2.add_volume(id="vol-12345678")
    scenario.create(headers=KEY, client=copying_client)
    ec2.actions.clear()
    scenario.create(headers=KEY, client=copying_client)
    assert set(ec2.actions) == {"DescribeSnapshots"}


def test_tags_of_a_volume_changed_since_are_not_part_of_an_idempotency_key(
    scenario, copying_client
):
    ec2 = scenario.model()
    ec2.add_volume(id="vol-12345678", tags={"Stage": "production"})
    first = scenario.create(headers=KEY, client=copying_client)
    ec2.add_volume(id="vol-12345678", tags={"Stage": "archive"})
    assert id_of(scenario.create(headers=KEY, client=copying_client)) == id_of(first)


def test_snapshot_of_a_lost_response_with_tags_is_found(scenario):
    ec2 = scenario.model((LOST, EXECUTED))
    ec2.add_volume(id="vol-12345678", tags={"Stage": "production"})
    client = scenario.client_with(tags=TAGS, copy_tags=True)
    made = scenario.create(client=client)
    assert tags_of(ec2, made) == {**dict(TAGS), "Stage": "production"}
    assert len(ec2.snapshots) == 1


def test_both_options_work_with_moto(moto_url, ec2, volume_id):
    ec2.create_tags(Resources=[volume_id], Tags=[{"Key": "Stage", "Value": "<&> ü"}])
    client = client_of(shared_application(ec2_endpoint_url=moto_url, tags=TAGS, copy_tags=True))
    id = id_of(client.post("/api/storage_snapshots", {"volume_id": volume_id}, status=201))
    [made] = ec2.describe_snapshots(SnapshotIds=[id])["Snapshots"]
    tags = {tag["Key"]: tag["Value"] for tag in made["Tags"] if tag["Key"] not in OF_CREATE}
    assert tags == {**dict(TAGS), "Stage": "<&> ü"}
