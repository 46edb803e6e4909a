"""A create makes exactly one volume, whatever EC2 or the network do."""

import re

import pytest

from tests.support.application import client_of, new_application
from tests.support.callers import register_caller
from tests.support.creation import DENIED, FAILED, KEY, THROTTLED, id_of, message_of
from tests.support.ec2_model import EC2Model, lost, not_executed
from tests.support.ec2_responses import EC2Response, error_response

VOLUMES = "/api/storage_volumes"
ZONE = {"realm_id": "us-east-1c"}
UNREADABLE = EC2Response(b"<html>Welcome!</html>")


@pytest.fixture
def model(programmed_ec2):
    programmed_ec2.respond = EC2Model()
    return programmed_ec2.respond


def test_create_without_a_realm_is_in_the_first_available_zone(programmed_client, model):
    volume = programmed_client.post(VOLUMES, status=201)
    assert volume.lxml.findtext("realm_id") == "us-east-1b"
    assert model.actions == ["DescribeAvailabilityZones", "CreateVolume"]


def test_default_realm_does_not_depend_on_the_order_of_the_zones(programmed_client, model):
    model.zones = {"us-east-1c": "available", "us-east-1b": "available"}
    volume = programmed_client.post(VOLUMES, status=201)
    assert volume.lxml.findtext("realm_id") == "us-east-1b"


@pytest.mark.parametrize(
    "zones", [{}, {"us-east-1a": "impaired"}, {"us-east-1-bos-1a": "available"}]
)
def test_create_where_no_zone_is_available_is_400_that_asks_for_the_realm(
    programmed_client, model, zones
):
    model.zones = zones
    model.zone_types = {"us-east-1-bos-1a": "local-zone"}
    message = message_of(programmed_client.post(VOLUMES, status=400))
    assert message.startswith("realm_id is missing")
    assert model.volumes == {}


@pytest.mark.parametrize("type", ["local-zone", "wavelength-zone"])
def test_default_realm_is_a_standard_zone(programmed_client, model, type):
    other = "us-west-2-lax-1a"
    model.zones = {"us-west-2b": "available", other: "available", "us-west-2a": "available"}
    model.zone_types[other] = type
    volume = programmed_client.post(VOLUMES, status=201)
    assert volume.lxml.findtext("realm_id") == "us-west-2a"
    volume = programmed_client.post(VOLUMES, {"realm_id": other}, status=201)
    assert volume.lxml.findtext("realm_id") == other


REFUSED_ZONES = [
    error_response("InvalidZone.NotFound"),
    error_response("InsufficientVolumeCapacity"),
    error_response("Unsupported"),
    error_response("InvalidParameterValue", message="Not in us-east-1b: use another zone."),
]


@pytest.mark.parametrize("headers", [{}, KEY], ids=["without key", "with key"])
@pytest.mark.parametrize("refusal", REFUSED_ZONES)
def test_default_realm_that_ec2_refuses_is_replaced(
    programmed_client, programmed_ec2, model, refusal, headers
):
    model.refused = {"us-east-1b": refusal}
    volume = programmed_client.post(VOLUMES, headers=headers, status=201)
    assert volume.lxml.findtext("realm_id") == "us-east-1c"
    creates = [r.parameters for r in programmed_ec2.requests if r.action == "CreateVolume"]
    assert len({parameters["ClientToken"] for parameters in creates}) == 1


@pytest.mark.parametrize("refusal", REFUSED_ZONES)
def test_realm_of_the_client_that_ec2_refuses_is_not_replaced(programmed_client, model, refusal):
    model.refused = {"us-east-1b": refusal}
    programmed_client.post(VOLUMES, {"realm_id": "us-east-1b"}, status="*")
    assert model.actions == ["CreateVolume"]


def test_refusal_of_all_default_realms_is_not_a_404(programmed_client, model):
    """The request has named no zone that could be missing."""
    model.refused = dict.fromkeys(["us-east-1b", "us-east-1c"], REFUSED_ZONES[0])
    response = programmed_client.post(VOLUMES, status=502)
    assert message_of(response).startswith("InvalidZone.NotFound: EC2 says no.")
    assert model.actions.count("CreateVolume") == 2


@pytest.mark.parametrize(
    "zones",
    [
        {"us-east-1a": "available", "us-east-1b": "available"},
        {"us-east-1a": "available", "us-east-1b": "impaired"},
        {"us-east-1b": "unavailable", "us-east-1c": "available"},
    ],
)
def test_repeated_key_finds_its_volume_whatever_zones_are_available_now(
    programmed_client, model, zones
):
    first = id_of(programmed_client.post(VOLUMES, headers=KEY, status=201))
    model.zones = zones
    assert id_of(programmed_client.post(VOLUMES, headers=KEY, status=201)) == first
    assert list(model.volumes) == [first]
    programmed_client.post(VOLUMES, {"capacity": "9"}, headers=KEY, status=422)


def test_zone_that_is_not_available_is_not_tried_for_a_new_volume(programmed_client, model):
    model.refused = dict.fromkeys(["us-east-1b", "us-east-1c"], REFUSED_ZONES[1])
    programmed_client.post(VOLUMES, headers=KEY, status=502)
    assert model.volumes == {}


MISMATCH = error_response("IdempotentParameterMismatch", message="The token was used already.")


def test_mismatch_of_a_create_without_key_says_nothing_of_a_key(programmed_client, model):
    """The volume of the lost response was deleted before the create was sent again."""
    model.faults["CreateVolume"] = [lost(), not_executed(MISMATCH)]
    message = message_of(programmed_client.post(VOLUMES, ZONE, status=502))
    assert message.startswith("IdempotentParameterMismatch: The token was used already.")
    assert "Idempotency-Key" not in message


def test_mismatch_of_a_create_with_a_key_has_the_message_of_ec2(programmed_client, model):
    model.faults["CreateVolume"] = [not_executed(MISMATCH)]
    message = message_of(programmed_client.post(VOLUMES, ZONE, headers=KEY, status=422))
    assert message.startswith("IdempotentParameterMismatch: The token was used already.")
    assert "Idempotency-Key" in message


def test_create_with_a_realm_and_without_tags_is_one_call(programmed_client, programmed_ec2, model):
    programmed_client.post(VOLUMES, ZONE, status=201)
    [request] = programmed_ec2.requests
    assert request.parameters.keys() >= {"ClientToken", "AvailabilityZone", "Size"}
    assert not any(name.startswith("TagSpecification") for name in request.parameters)


def test_size_is_the_snapshots_unless_it_is_given(programmed_client, programmed_ec2, model):
    given = ZONE | {"snapshot_id": "snap-12345678"}
    programmed_client.post(VOLUMES, given, status=201)
    programmed_client.post(VOLUMES, given | {"capacity": "9"}, status=201)
    sizes = [request.parameters.get("Size") for request in programmed_ec2.requests]
    assert sizes == [None, "9"]


def test_each_create_has_a_client_token_of_its_own(programmed_client, programmed_ec2, model):
    for _ in range(2):
        programmed_client.post(VOLUMES, ZONE, status=201)
    tokens = {request.parameters["ClientToken"] for request in programmed_ec2.requests}
    assert len(tokens) == len(model.volumes) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", token) for token in tokens)


@pytest.mark.parametrize("fault", [lost(), lost(FAILED), lost(UNREADABLE), not_executed()])
def test_create_with_a_lost_response_is_repeated_with_its_client_token(
    programmed_client, programmed_ec2, model, fault
):
    model.faults["CreateVolume"] = [fault]
    assert id_of(programmed_client.post(VOLUMES, ZONE, status=201)) in model.volumes
    assert len(model.volumes) == 1
    assert len({request.parameters["ClientToken"] for request in programmed_ec2.requests}) == 1
    assert model.actions == ["CreateVolume"] * 2


def test_throttled_create_is_repeated(programmed_client, model):
    model.faults["CreateVolume"] = [not_executed(THROTTLED)] * 2
    programmed_client.post(VOLUMES, ZONE, status=201)
    assert len(model.volumes) == 1


def test_create_that_stays_throttled_is_502_and_may_be_repeated(programmed_client, model):
    model.faults["CreateVolume"] = [not_executed(THROTTLED)] * 9
    response = programmed_client.post(VOLUMES, ZONE, status=502)
    assert "not known" not in message_of(response)
    assert response.headers["Retry-After"]


def test_unknown_outcome_is_502_that_says_so(programmed_client, model):
    model.faults["CreateVolume"] = [lost()] * 9
    response = programmed_client.post(VOLUMES, ZONE, status=502)
    assert "It is not known whether EC2 has made a volume" in message_of(response)
    assert "Retry-After" not in response.headers
    assert len(model.volumes) == 1


def test_refusal_after_a_lost_response_is_an_unknown_outcome(programmed_client, model):
    model.faults["CreateVolume"] = [lost(), not_executed(DENIED)]
    response = programmed_client.post(VOLUMES, ZONE, status=502)
    assert "It is not known whether EC2 has made a volume" in message_of(response)


def test_unknown_outcome_with_a_key_may_be_repeated_and_makes_one_volume(programmed_client, model):
    model.faults["CreateVolume"] = [lost()] * 3
    response = programmed_client.post(VOLUMES, ZONE, headers=KEY, status=502)
    assert response.headers["Retry-After"]
    again = programmed_client.post(VOLUMES, ZONE, headers=KEY, status=201)
    assert [id_of(again)] == list(model.volumes)


def test_repeated_idempotency_key_returns_the_first_volume(
    programmed_client, programmed_ec2, model
):
    first = programmed_client.post(VOLUMES, ZONE, headers=KEY, status=201)
    replica = client_of(new_application(ec2_endpoint_url=programmed_ec2.url))
    again = replica.post(VOLUMES, ZONE, headers=KEY, status=201)
    assert first.body == again.body
    assert again.headers["Location"] == first.headers["Location"]


@pytest.mark.parametrize(
    "other", [{"name": "x"}, {"description": "x"}, {"capacity": "9"}, {"snapshot_id": ""}]
)
def test_idempotency_key_with_other_parameters_is_422(programmed_client, model, other):
    given = ZONE | {"snapshot_id": "snap-12345678"}
    programmed_client.post(VOLUMES, given, headers=KEY, status=201)
    programmed_client.post(VOLUMES, given | other, headers=KEY, status=422)
    assert len(model.volumes) == 1


def test_idempotency_key_is_scoped_to_caller_and_region(programmed_client, programmed_ec2, model):
    programmed_client.post(VOLUMES, ZONE, headers=KEY, status=201)
    address = "/api;provider=eu-west-1/storage_volumes"
    programmed_client.post(address, ZONE, headers=KEY, status=201)
    programmed_client.authorization = ("Basic", register_caller("SOMEBODYELSE", "secret"))
    programmed_client.post(VOLUMES, ZONE, headers=KEY, status=201)
    assert len(model.volumes) == 3


def test_malformed_idempotency_key_is_400(programmed_client, model):
    programmed_client.post(VOLUMES, ZONE, headers={"Idempotency-Key": ""}, status=400)
    assert model.volumes == {}


def test_idempotency_key_does_not_need_the_create_tag(client_with, model):
    client = client_with(create_tag=False)
    client.post(VOLUMES, ZONE, headers=KEY, status=201)
    client.post(VOLUMES, ZONE, headers=KEY, status=201)
    assert len(model.volumes) == 1


@pytest.mark.parametrize(
    ("given", "code", "status"),
    [
        ({"realm_id": "mars-1a"}, "InvalidZone.NotFound", 404),
        (ZONE | {"snapshot_id": "snap-87654321"}, "InvalidSnapshot.NotFound", 404),
        (ZONE | {"snapshot_id": "snap-12345678", "capacity": "7"}, "InvalidParameterValue", 502),
    ],
)
def test_refusal_of_ec2_is_told_and_nothing_is_made(programmed_client, model, given, code, status):
    response = programmed_client.post(VOLUMES, given, status=status)
    assert message_of(response).startswith(f"{code}: EC2 says no.")
    assert "Retry-After" not in response.headers
    assert model.volumes == {}


def test_name_without_tag_permission_is_502_naming_the_permission(programmed_client, model):
    model.faults["CreateVolume"] = [not_executed(DENIED)]
    message = message_of(programmed_client.post(VOLUMES, ZONE | {"name": "x"}, status=502))
    assert message.startswith("UnauthorizedOperation: EC2 says no. ")
    assert "ec2:CreateTags" in message
    assert model.volumes == {}


def test_refused_create_without_tags_does_not_name_the_permission_to_tag(programmed_client, model):
    model.faults["CreateVolume"] = [not_executed(DENIED)]
    assert "ec2:CreateTags" not in message_of(programmed_client.post(VOLUMES, ZONE, status=502))


def test_delete_whose_response_was_lost_is_204(programmed_client, model):
    id = model.add_volume()
    model.faults["DeleteVolume"] = [lost()]
    programmed_client.delete(f"{VOLUMES}/{id}", status=204)
    assert model.volumes == {}
