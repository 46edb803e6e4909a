"""A create makes one snapshot or reports another one, whatever EC2, network or client do."""

import re

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import register_caller
from tests.support.creation import (
    DENIED,
    EXECUTED,
    FAILED,
    KEY,
    NOT_EXECUTED,
    THROTTLED,
    VOLUME,
    id_of,
)
from tests.support.ec2_model import LOST, EC2Model
from tests.support.ec2_responses import EC2Response, error_response
from tests.support.package import CREATE_TAG, LOOK_DELAYS

UNREADABLE = EC2Response(b"<html>Welcome!</html>")


def test_create_carries_its_tag_and_is_sent_once(scenario):
    ec2 = scenario.model()
    id = id_of(scenario.create(name="weekly"))
    assert ec2.actions == ["CreateSnapshot"]
    assert re.fullmatch(r"[0-9a-f]{32}", ec2.snapshots[id].tags[CREATE_TAG])
    assert ec2.snapshots[id].tags["Name"] == "weekly"


def test_each_create_has_a_tag_of_its_own(scenario):
    ec2 = scenario.model()
    for _ in range(3):
        scenario.create()
    assert len({snapshot.tags[CREATE_TAG] for snapshot in ec2.snapshots.values()}) == 3


def test_throttled_create_is_resent_without_polling(scenario):
    ec2 = scenario.model((THROTTLED, NOT_EXECUTED), (THROTTLED, NOT_EXECUTED))
    scenario.create()
    assert ec2.actions == ["CreateSnapshot"] * 3
    assert len(scenario.sleeps) == 2


def test_create_that_stays_throttled_is_502(scenario):
    ec2 = scenario.model(*[(THROTTLED, NOT_EXECUTED)] * 9)
    response = scenario.create(status=502)
    assert ec2.actions == ["CreateSnapshot"] * 3
    assert "not known" not in response.text
    assert response.headers["Retry-After"]


@pytest.mark.parametrize("code", ["InvalidVolume.NotFound", "SnapshotLimitExceeded", "Unheard"])
def test_rejected_create_is_not_repeated(scenario, code):
    ec2 = scenario.model((error_response(code), NOT_EXECUTED))
    response = scenario.create(status=404 if code == "InvalidVolume.NotFound" else 502)
    assert response.lxml.findtext("message").startswith(f"{code}: EC2 says no.")
    assert "Retry-After" not in response.headers
    assert ec2.actions == ["CreateSnapshot"]


@pytest.mark.parametrize("fault", [LOST, FAILED, UNREADABLE])
def test_snapshot_of_a_lost_response_is_found_by_its_tag(scenario, fault):
    ec2 = scenario.model((fault, EXECUTED))
    assert id_of(scenario.create()) in ec2.snapshots
    assert ec2.actions == ["CreateSnapshot", "DescribeSnapshots"]
    assert len(ec2.snapshots) == 1


def test_snapshot_of_a_lost_response_is_found_despite_stale_reads(scenario):
    ec2 = scenario.model((LOST, EXECUTED), lag=2)
    scenario.create()
    assert ec2.actions == ["CreateSnapshot"] + ["DescribeSnapshots"] * 3
    assert scenario.sleeps == list(LOOK_DELAYS)
    assert len(ec2.snapshots) == 1


@pytest.mark.parametrize("fault", [LOST, FAILED, UNREADABLE])
def test_failed_create_without_a_snapshot_is_resent(scenario, fault):
    ec2 = scenario.model((fault, NOT_EXECUTED))
    scenario.create()
    assert ec2.actions.count("CreateSnapshot") == 2
    assert len(ec2.snapshots) == 1


def test_duplicate_snapshot_is_deleted_and_the_oldest_kept(scenario):
    # The first one appears only after the last poll for it.
    ec2 = scenario.model((LOST, EXECUTED), lag=len(LOOK_DELAYS))
    id = id_of(scenario.create())
    assert ec2.actions.count("CreateSnapshot") == 2
    assert list(ec2.snapshots) == [id] == ["snap-00000001"]


def test_duplicate_snapshot_that_cannot_be_deleted_is_logged(scenario, caplog):
    ec2 = scenario.model((LOST, EXECUTED), lag=len(LOOK_DELAYS))
    ec2.faults["DeleteSnapshot"] = [(DENIED, False)]
    assert id_of(scenario.create()) == "snap-00000001"
    assert "duplicate snapshot snap-00000002 could not be deleted" in caplog.text


def test_unknown_outcome_is_502_naming_the_tag(scenario):
    ec2 = scenario.model(*[(LOST, NOT_EXECUTED)] * 9)
    message = scenario.create(status=502).lxml.findtext("message")
    assert re.search(rf"It is not known .* tag {CREATE_TAG}=[0-9a-f]{{32}}\.", message)
    assert ec2.actions.count("CreateSnapshot") == 3


def test_error_after_a_lost_response_is_an_unknown_outcome(scenario):
    scenario.model((LOST, NOT_EXECUTED), (DENIED, NOT_EXECUTED))
    assert "not known" in scenario.create(status=502).lxml.findtext("message")


def test_caller_without_tag_permission_gets_an_untagged_snapshot(scenario):
    ec2 = scenario.model((DENIED, NOT_EXECUTED))
    id = id_of(scenario.create(description="d"))
    assert ec2.snapshots[id].tags == {}
    assert ec2.actions == ["CreateSnapshot"] * 2


CODES_OF_REFUSED_TAGS = [
    "InvalidParameter",
    "InvalidParameterValue",
    "InvalidRequest",
    "UnknownParameter",
    "UnsupportedOperation",
]


@pytest.mark.parametrize("code", [*CODES_OF_REFUSED_TAGS, "Client.UnsupportedOperation"])
def test_create_is_repeated_without_the_tags_that_the_cloud_refuses(scenario, code):
    ec2 = scenario.model((error_response(code), NOT_EXECUTED))
    id = id_of(scenario.create(description="d"))
    assert ec2.snapshots[id].tags == {}
    assert ec2.actions == ["CreateSnapshot"] * 2


@pytest.mark.parametrize("code", CODES_OF_REFUSED_TAGS)
@pytest.mark.parametrize(
    "given", [{"name": "weekly"}, {"headers": {"Idempotency-Key": '"k"'}}], ids=["name", "key"]
)
def test_create_that_needs_its_tags_gets_the_answer_of_ec2(scenario, code, given):
    ec2 = scenario.model((error_response(code), NOT_EXECUTED))
    response = scenario.create(status=502, **given)
    message = response.lxml.findtext("message")
    assert message.startswith(f"{code}: EC2 says no. (X-Request-Id: ")
    assert ec2.actions.count("CreateSnapshot") == 1
    assert ec2.snapshots == {}


@pytest.mark.parametrize("code", CODES_OF_REFUSED_TAGS)
def test_create_that_is_refused_without_tags_too_gets_the_answer_of_ec2(scenario, code):
    ec2 = scenario.model(*[(error_response(code), NOT_EXECUTED)] * 3)
    message = scenario.create(status=502).lxml.findtext("message")
    assert message.startswith(f"{code}: EC2 says no. (X-Request-Id: ")
    assert ec2.actions == ["CreateSnapshot"] * 2


def test_tags_that_are_refused_after_a_lost_response_are_an_unknown_outcome(scenario):
    ec2 = scenario.model((LOST, NOT_EXECUTED), (error_response("UnknownParameter"), NOT_EXECUTED))
    assert "not known" in scenario.create(status=502).lxml.findtext("message")
    assert ec2.snapshots == {}


def test_rate_limit_of_a_volume_is_told_to_the_client_at_once(scenario):
    code = "SnapshotCreationPerVolumeRateExceeded"
    ec2 = scenario.model(*[(error_response(code), NOT_EXECUTED)] * 9)
    response = scenario.create(status=502)
    assert response.lxml.findtext("message").startswith(f"{code}: EC2 says no.")
    assert response.headers["Retry-After"] == "15"
    assert ec2.actions == ["CreateSnapshot"]
    assert scenario.sleeps == []


def test_snapshots_that_an_ignored_filter_should_exclude_are_excluded(scenario):
    ec2 = scenario.model((None, EXECUTED), (DENIED, NOT_EXECUTED), (None, EXECUTED))
    tagged, untagged = id_of(scenario.create()), id_of(scenario.create())
    ec2.ignores_filters = True
    ec2.faults["CreateSnapshot"] = [(LOST, EXECUTED)]
    made = id_of(scenario.create())
    assert made not in {tagged, untagged}
    assert set(ec2.snapshots) == {tagged, untagged, made}
    key = {"Idempotency-Key": '"k"'}
    keyed = id_of(scenario.create(headers=key))
    assert keyed not in {tagged, untagged, made}
    assert id_of(scenario.create(headers=key)) == keyed
    assert set(ec2.snapshots) == {tagged, untagged, made, keyed}


def test_ignored_filter_does_not_stand_in_for_a_create_that_was_not_executed(scenario):
    ec2 = scenario.model()
    other = id_of(scenario.create())
    ec2.ignores_filters = True
    ec2.faults["CreateSnapshot"] = [(LOST, NOT_EXECUTED)]
    assert id_of(scenario.create()) != other
    assert len(ec2.snapshots) == 2


@pytest.mark.parametrize("page_size", [1000, 5])
def test_look_for_a_lost_create_asks_for_pages(scenario, programmed_ec2, page_size):
    scenario.model((LOST, EXECUTED)).has_empty_first_page = True
    scenario.create(client=scenario.client_with(page_size=page_size))
    _, first, second = programmed_ec2.requests
    for look in (first, second):
        assert look.action == "DescribeSnapshots"
        assert look.parameters["MaxResults"] == str(page_size)
        assert look.parameters["Owner.1"] == "self"
    assert second.parameters["NextToken"] == "page-2"


def test_untagged_create_is_never_resent(scenario):
    ec2 = scenario.model((DENIED, NOT_EXECUTED), (LOST, EXECUTED))
    message = scenario.create(status=502).lxml.findtext("message")
    assert "not known" in message
    assert ec2.actions == ["CreateSnapshot"] * 2


def test_caller_without_any_permission_gets_502_with_the_ec2_code(scenario):
    ec2 = scenario.model((DENIED, NOT_EXECUTED), (DENIED, NOT_EXECUTED))
    response = scenario.create(status=502)
    assert response.lxml.findtext("message").startswith("UnauthorizedOperation: EC2 says no.")
    assert "Retry-After" not in response.headers
    assert ec2.actions == ["CreateSnapshot"] * 2


def test_name_without_tag_permission_is_502_naming_the_permission(scenario):
    ec2 = scenario.model((DENIED, NOT_EXECUTED))
    response = scenario.create(status=502, name="weekly")
    message = response.lxml.findtext("message")
    assert message.startswith("UnauthorizedOperation: EC2 says no. The tags Name also need")
    assert "ec2:CreateTags" in message
    assert "Retry-After" not in response.headers
    assert ec2.actions == ["CreateSnapshot"]
    assert ec2.snapshots == {}


def test_create_is_sent_once_where_create_tag_is_off(scenario):
    ec2 = scenario.model((LOST, EXECUTED))
    client = scenario.client_with(create_tag=False)
    message = scenario.create(status=502, client=client).lxml.findtext("message")
    assert "not known" in message
    assert ec2.actions == ["CreateSnapshot"]


def test_idempotency_key_is_400_where_create_tag_is_off(scenario):
    client = scenario.client_with(create_tag=False)
    scenario.create(status=400, client=client, headers={"Idempotency-Key": '"a"'})


@pytest.mark.parametrize("format", ["xml", "json"])
def test_repeated_idempotency_key_returns_the_first_snapshot(scenario, format):
    ec2 = scenario.model()
    key = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
    first = scenario.create(headers=key, name="weekly")
    # Another replica, or the same one after a restart.
    again = scenario.create(headers=key, name="weekly", client=scenario.replica())
    assert first.body == again.body
    assert again.headers["Location"] == first.headers["Location"]
    assert ec2.actions.count("CreateSnapshot") == 1


@pytest.mark.parametrize(
    "other", [{"volume_id": "vol-87654321"}, {"name": "other"}, {"description": "other"}]
)
def test_idempotency_key_with_other_parameters_is_422(scenario, other):
    ec2 = scenario.model()
    key = {"Idempotency-Key": '"k"'}
    scenario.create(headers=key, name="weekly")
    scenario.create(headers=key, status=422, **({"name": "weekly"} | other))
    assert len(ec2.snapshots) == 1


def test_idempotency_key_is_scoped_to_caller_and_region(scenario):
    ec2 = scenario.model()
    key = {"Idempotency-Key": '"k"'}
    scenario.create(headers=key)
    other = scenario.replica()
    other.authorization = ("Basic", register_caller("SOMEBODYELSE", "secret"))
    scenario.create(headers=key, client=other)
    scenario.client.post(
        "/api;provider=eu-west-1/storage_snapshots", VOLUME, headers=key, status=201
    )
    assert len(ec2.snapshots) == 3


def test_quotes_of_an_idempotency_key_are_optional(scenario):
    ec2 = scenario.model()
    scenario.create(headers={"Idempotency-Key": '"k-1"'})
    scenario.create(headers={"Idempotency-Key": "k-1"})
    assert len(ec2.snapshots) == 1


@pytest.mark.parametrize(
    "key", ["", '""', '"a', 'a"', '"a", "b"', "a b", '"ä"', "x" * 256, '"\\n"']
)
def test_malformed_idempotency_key_is_400(scenario, key):
    ec2 = scenario.model()
    response = scenario.create(status=400, headers={"Idempotency-Key": key})
    assert "Idempotency-Key" in response.lxml.findtext("message")
    assert ec2.actions == []


def test_snapshot_of_a_lost_response_is_found_by_its_idempotency_key(scenario):
    ec2 = scenario.model((LOST, EXECUTED))
    key = {"Idempotency-Key": '"k"'}
    assert id_of(scenario.create(headers=key)) == id_of(scenario.create(headers=key))
    assert len(ec2.snapshots) == 1


def test_create_is_not_resent_where_polling_is_denied(scenario):
    ec2 = scenario.model((LOST, EXECUTED), (LOST, EXECUTED))
    ec2.faults["DescribeSnapshots"] = [(DENIED, NOT_EXECUTED)] * 99
    message = scenario.create(status=502).lxml.findtext("message")
    assert "not known" in message
    assert ec2.actions.count("CreateSnapshot") == 1


def test_oldest_snapshot_is_kept_after_two_lost_responses(scenario):
    ec2 = scenario.model((LOST, EXECUTED), (LOST, EXECUTED), lags=[3, 0])
    assert id_of(scenario.create()) == "snap-00000001"
    assert list(ec2.snapshots) == ["snap-00000001"]


def test_polling_reads_every_page(scenario):
    ec2 = scenario.model((LOST, EXECUTED))
    ec2.has_empty_first_page = True
    assert id_of(scenario.create()) == "snap-00000001"
    assert ec2.actions.count("CreateSnapshot") == 1
    key = {"Idempotency-Key": '"k"'}
    assert id_of(scenario.create(headers=key)) == id_of(scenario.create(headers=key))


def test_unauthorized_with_status_500_is_an_unknown_outcome(scenario):
    ec2 = scenario.model((error_response("UnauthorizedOperation", 500), EXECUTED))
    id = id_of(scenario.create())
    assert list(ec2.snapshots) == [id]


def test_error_after_a_lost_response_polls_again(scenario):
    ec2 = scenario.model(
        (LOST, EXECUTED), (error_response("SnapshotLimitExceeded"), NOT_EXECUTED), lags=[3]
    )
    assert id_of(scenario.create()) == "snap-00000001"
    assert len(ec2.snapshots) == 1


def test_unknown_outcome_has_retry_after_only_with_an_idempotency_key(scenario):
    scenario.model(*[(LOST, NOT_EXECUTED)] * 9)
    assert "Retry-After" not in scenario.create(status=502).headers
    scenario.model(*[(LOST, NOT_EXECUTED)] * 9)
    keyed = scenario.create(status=502, headers={"Idempotency-Key": '"k"'})
    assert keyed.headers["Retry-After"]


@pytest.mark.parametrize(
    "body",
    [
        b"<Response><Errors>text</Errors></Response>",
        b"<Errors/>",
        b"<Response><Error>text</Error></Response>",
        b"<Errors><Error>t</Error></Errors>",
        b"<Response><Errors><Error><Code>a</Code><Code>b</Code></Error></Errors></Response>",
        b"<Response><Errors><Error><Code><x/></Code></Error></Errors></Response>",
        b"<Response><ResponseMetadata>x</ResponseMetadata></Response>",
    ],
)
@pytest.mark.parametrize("status", [400, 500])
def test_unreadable_error_loses_no_snapshot(scenario, body, status):
    ec2 = scenario.model((EC2Response(body, status), EXECUTED))
    assert id_of(scenario.create()) in ec2.snapshots
    assert len(ec2.snapshots) == 1


def test_idempotency_key_without_tag_permission_is_502_naming_the_permission(scenario):
    scenario.model((DENIED, NOT_EXECUTED))
    response = scenario.create(status=502, headers={"Idempotency-Key": '"k"'})
    message = response.lxml.findtext("message")
    assert message.startswith("UnauthorizedOperation: EC2 says no. Idempotency-Key also needs")
    assert "ec2:CreateTags" in message
    assert "Retry-After" not in response.headers


def test_delete_after_a_lost_response_is_204(scenario):
    ec2 = scenario.model()
    id = id_of(scenario.create())
    ec2.faults["DeleteSnapshot"] = [(FAILED, True)]
    scenario.client.delete(f"{SNAPSHOTS}/{id}", status=204)
    assert ec2.actions[-2:] == ["DeleteSnapshot"] * 2


def test_throttled_delete_of_an_unknown_snapshot_is_404(scenario):
    ec2 = scenario.model()
    ec2.faults["DeleteSnapshot"] = [(THROTTLED, False)]
    scenario.client.delete(f"{SNAPSHOTS}/snap-99999999", status=404)


def test_delete_of_an_unknown_snapshot_is_404(scenario):
    scenario.model()
    scenario.client.delete(f"{SNAPSHOTS}/snap-99999999", status=404)


class IgnoredTags(EC2Model):
    """An EC2 that ignores the tags of creates, whose numbers are in ``ignores``, or of all."""

    def __init__(self, create_faults=(), ignores=None):
        super().__init__(create_faults)
        self.ignores = ignores

    def CreateSnapshot(self, parameters):  # noqa: N802
        number = self.actions.count("CreateSnapshot")
        if self.ignores is None or number in self.ignores:
            parameters = {n: v for n, v in parameters.items() if not n.startswith("Tag")}
        return super().CreateSnapshot(parameters)


def test_duplicate_of_a_cloud_that_ignores_tags_is_reported(
    scenario, programmed_ec2, caplog, increase_of
):
    """No search finds the snapshot of the lost response."""
    ec2 = programmed_ec2.respond = IgnoredTags([(LOST, EXECUTED)])
    assert id_of(scenario.create()) == "snap-00000002"
    assert len(ec2.snapshots) == 2
    assert "a create is not settled: 1 of at most 2 snapshots were found" in caplog.text
    assert increase_of("dcproxy_creates_unsettled_total") == 1


def test_create_of_a_cloud_that_ignores_tags_is_one_call(scenario, programmed_ec2):
    ec2 = programmed_ec2.respond = IgnoredTags()
    scenario.create()
    assert ec2.actions == ["CreateSnapshot"]


def test_snapshot_with_a_key_and_without_its_tag_is_reported(
    scenario, programmed_ec2, caplog, increase_of
):
    programmed_ec2.respond = IgnoredTags()
    assert id_of(scenario.create(headers=KEY)) == "snap-00000001"
    assert "EC2 does not show its snapshot" in caplog.text
    assert increase_of("dcproxy_creates_unsettled_total") == 1


@pytest.mark.parametrize("first", [None, LOST])
def test_one_answer_without_tags_changes_nothing_for_later_creates(scenario, programmed_ec2, first):
    ec2 = programmed_ec2.respond = IgnoredTags([(first, EXECUTED)], ignores={1})
    scenario.create()
    made = len(ec2.snapshots)
    ec2.faults["CreateSnapshot"] = [(LOST, EXECUTED)]
    scenario.create()
    keyed = id_of(scenario.create(headers=KEY))
    assert id_of(scenario.create(headers=KEY)) == keyed
    assert len(ec2.snapshots) == made + 2
