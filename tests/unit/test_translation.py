"""The translation of a page equals a simple reference translation."""

import json as json_module
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from dcproxy.deltacloud import json_writer, xml_writer
from dcproxy.ec2 import reader as ec2_xml
from dcproxy.ec2.errors import EC2Error, outcome_of_response
from dcproxy.ec2.records import Attachment, Snapshot, Volume
from dcproxy.operations import translation
from tests.support.ec2_responses import NAMESPACE
from tests.support.package import URLS

BASE = "http://localhost:3001/api"

TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
        st.sampled_from("\t\n\r<>&'\"]\ufdd0\ufdd1\u2028\u0085 "),
    ),
    max_size=20,
)
IDS = st.from_regex(r"[0-9a-f]{8}(?:[0-9a-f]{9})?", fullmatch=True)


@st.composite
def items(draw):
    """Draw an item of an EC2 page: any text, some elements missing, some unknown."""
    fields = {
        "snapshotId": f"snap-{draw(IDS)}",
        "volumeId": f"vol-{draw(IDS)}",
        "status": draw(st.sampled_from(["pending", "completed", "error", "recoverable"])),
        "startTime": draw(st.datetimes(datetime(2006, 1, 1), datetime(2100, 1, 1))).strftime(
            "%Y-%m-%dT%H:%M:%S.000Z"
        ),
        "ownerId": "123456789012",
        "description": draw(TEXTS),
    }
    for missing in draw(st.sets(st.sampled_from(["volumeId", "startTime", "description"]))):
        del fields[missing]
    tags = draw(st.lists(st.tuples(st.sampled_from(["Name", "name", "Other"]), TEXTS), max_size=3))
    return draw(st.permutations(list(fields.items()))), tags


def element(parent, name, text=None):
    child = etree.SubElement(parent, f"{{{NAMESPACE}}}{name}")
    child.text = text
    return child


def native_page(snapshots, pretty):
    root = etree.Element(f"{{{NAMESPACE}}}DescribeSnapshotsResponse", nsmap={None: NAMESPACE})
    entries = element(root, "snapshotSet")
    for fields, tags in snapshots:
        item = element(entries, "item")
        for name, text in fields:
            element(item, name, text)
        if tags:
            tag_set = element(item, "tagSet")
            for key, value in tags:
                tag = element(tag_set, "item")
                element(tag, "key", key)
                element(tag, "value", value)
        element(item, "somethingNew", "whatever")
    return etree.tostring(root, encoding="utf-8", xml_declaration=True, pretty_print=pretty)


def reference_snapshot(item):
    """Translate one item in the most obvious way."""
    names = {"e": NAMESPACE}

    def text(name):
        return item.findtext(f"e:{name}", "", names)

    name = next(
        (
            tag.findtext("e:value", "", names)
            for tag in item.findall("e:tagSet/e:item", names)
            if tag.findtext("e:key", "", names) == "Name"
        ),
        "",
    )
    id, volume_id, start = text("snapshotId"), text("volumeId"), text("startTime")
    when = datetime.fromisoformat(start).strftime("%a %b %d %H:%M:%S UTC %Y") if start else None
    return {
        "id": id,
        "href": f"{BASE}/storage_snapshots/{id}",
        "name": name or id,
        "description": text("description") or None,
        "state": text("status"),
        "created": when,
        "storage_volume": {
            "id": volume_id,
            "href": f"{BASE}/storage_volumes/{volume_id}",
            "rel": "storage_volume",
        }
        if volume_id
        else None,
    }


def json_structure_of(snapshot):
    """Convert a snapshot in XML to the structure of the JSON."""
    volume = snapshot.find("storage_volume")
    return {
        "id": snapshot.get("id"),
        "href": snapshot.get("href"),
        "name": snapshot.findtext("name"),
        "description": snapshot.findtext("description"),
        "state": snapshot.findtext("state"),
        "created": snapshot.findtext("created"),
        "storage_volume": dict(volume.attrib) | {"rel": "storage_volume"}
        if volume is not None
        else None,
    }


@given(st.lists(items(), max_size=5), st.booleans())
def test_translation_equals_the_reference_translation(snapshots, pretty):
    page = native_page(snapshots, pretty)
    plain = [
        reference_snapshot(item)
        for item in etree.fromstring(page).iterfind("e:snapshotSet/e:item", {"e": NAMESPACE})
    ]
    models = translation.storage_snapshots(ec2_xml.snapshots(page).records)
    document = "".join(xml_writer.collection("storage_snapshots", [models], URLS)).encode()
    assert [json_structure_of(snapshot) for snapshot in etree.fromstring(document)] == plain
    document = "".join(json_writer.collection("storage_snapshots", [models], URLS))
    assert json_module.loads(document) == {"storage_snapshots": plain}


@pytest.mark.parametrize(
    ("time", "created"),
    [
        ("2011-07-28T21:54:19.000Z", "Thu Jul 28 21:54:19 UTC 2011"),
        ("2011-07-28T21:54:19Z", "Thu Jul 28 21:54:19 UTC 2011"),
        ("2008-10-20T18:23:59.123Z", "Mon Oct 20 18:23:59 UTC 2008"),
        ("2024-02-29T00:00:00.000Z", "Thu Feb 29 00:00:00 UTC 2024"),
        ("2026-01-04T09:08:07.000Z", "Sun Jan 04 09:08:07 UTC 2026"),
    ],
)
def test_timestamp_format(time, created):
    assert translation.created(time) == created


@pytest.mark.parametrize(
    ("volume_id", "is_known"), [("vol-0bc0de60", True), ("vol-ffffffff", False), ("", False)]
)
def test_volume_of_a_copied_or_foreign_snapshot_is_unknown(volume_id, is_known):
    snapshot = Snapshot("snap-45b8d024", volume_id, "", "completed", "", "")
    [model] = translation.storage_snapshots([snapshot])
    assert (model.volume_id, model.volume_is_known) == (volume_id, is_known)


def test_name_of_a_snapshot_without_a_name_tag_is_its_id():
    snapshot = Snapshot("snap-45b8d024", "vol-0bc0de60", "", "completed", "", "")
    [model] = translation.storage_snapshots([snapshot])
    assert model.name == "snap-45b8d024"


@pytest.mark.parametrize(
    ("code", "of_ec2", "status"),
    [
        ("AuthFailure", 401, 401),
        ("AuthFailure", 403, 502),
        ("InvalidClientTokenId", 403, 401),
        ("InvalidAccessKeyId", 403, 401),
        ("SignatureDoesNotMatch", 403, 401),
        ("IncompleteSignature", 400, 401),
        ("MissingAuthenticationToken", 403, 401),
        ("ExpiredToken", 400, 401),
        ("UnauthorizedOperation", 403, 502),
        ("AccessDenied", 403, 502),
        ("OptInRequired", 401, 502),
        ("Blocked", 400, 502),
        ("PendingVerification", 400, 502),
        ("InvalidSnapshot.NotFound", 400, 404),
        ("InvalidVolume.NotFound", 400, 404),
        ("MissingParameter", 400, 502),
        ("InvalidParameterValue", 400, 502),
        ("InvalidParameterCombination", 400, 502),
        ("InvalidSnapshotID.Malformed", 400, 404),
        ("InvalidSnapshotId.Malformed", 400, 404),
        ("InvalidVolumeID.Malformed", 400, 404),
        ("InvalidInstanceID.Malformed", 400, 502),
        ("InvalidSnapshot.InUse", 400, 502),
        ("IncorrectState", 400, 502),
        ("SnapshotLimitExceeded", 400, 502),
        ("ConcurrentSnapshotLimitExceeded", 400, 502),
        ("SnapshotCreationPerVolumeRateExceeded", 400, 502),
        ("RequestLimitExceeded", 503, 502),
        ("Throttling", 400, 502),
        ("InternalError", 500, 502),
        ("Unavailable", 503, 502),
        ("InternalError", 400, 502),
        ("InvalidSnapshot.NotFound", 500, 502),
        ("AuthFailure", 500, 502),
        ("NeverHeardOfIt", 400, 502),
        ("NeverHeardOfIt", 401, 502),
        ("NeverHeardOfIt", 403, 502),
        ("NeverHeardOfIt", 404, 502),
        ("NeverHeardOfIt", 418, 502),
        ("NeverHeardOfIt", 429, 502),
        ("NeverHeardOfIt", 500, 502),
        ("NeverHeardOfIt", 307, 502),
    ],
)
def test_status_of_an_ec2_error(code, of_ec2, status):
    outcome = outcome_of_response(code, of_ec2)
    error = translation.api_error(EC2Error("No.", outcome, code=code, http_status=of_ec2))
    assert error.status == status
    assert error.code == code
    assert error.message == f"{code}: No."


def error_of(code, of_ec2):
    """Translate what EC2 sends with this code and this HTTP status."""
    outcome = outcome_of_response(code, of_ec2)
    return translation.api_error(EC2Error("No.", outcome, code=code, http_status=of_ec2))


@pytest.mark.parametrize("status", [307, 400, 401, 403, 404, 418, 500, 503])
def test_status_without_an_ec2_code_decides_nothing(status):
    error = error_of("", status)
    assert (error.status, error.is_refusal) == (502, False)


@pytest.mark.parametrize(
    ("code", "of_ec2", "retry_after", "is_refusal"),
    [
        ("UnauthorizedOperation", 403, None, True),
        ("InvalidSnapshot.InUse", 400, None, True),
        ("SnapshotLimitExceeded", 400, None, True),
        ("AuthFailure", 403, None, True),
        ("SnapshotCreationPerVolumeRateExceeded", 400, "15", True),
        ("InvalidSnapshot.NotFound", 400, None, True),
        ("InsufficientVolumeCapacity", 500, "60", True),
        ("ConcurrentSnapshotLimitExceeded", 400, "60", True),
        ("PendingSnapshotLimitExceeded", 400, "60", True),
        ("IncorrectState", 400, "5", True),
        ("RequestLimitExceeded", 503, "5", True),
        ("InternalError", 400, "5", False),
        ("InternalError", 500, "5", False),
        ("", 403, "5", False),
    ],
)
def test_retry_after_is_sent_only_where_repeating_helps(code, of_ec2, retry_after, is_refusal):
    error = error_of(code, of_ec2)
    assert error.headers.get("Retry-After") == retry_after
    assert error.is_refusal == is_refusal


def test_names_of_providers_are_regions_and_hosts_in_lower_case():
    hosts = {"us-east-1": "ec2.us-east-1.amazonaws.com", "RegionOne": "Cloud.example.org"}
    assert translation.provider_names(hosts) == {
        "us-east-1": "us-east-1",
        "ec2.us-east-1.amazonaws.com": "us-east-1",
        "regionone": "RegionOne",
        "cloud.example.org": "RegionOne",
    }


def test_host_of_several_regions_names_none_of_them():
    names = translation.provider_names(dict.fromkeys(["us-east-1", "eu-west-1"], "127.0.0.1:5000"))
    assert names == {"us-east-1": "us-east-1", "eu-west-1": "eu-west-1"}


@pytest.mark.parametrize(
    ("status", "attachment_status", "expected"),
    [
        ("creating", "", ["attach", "destroy"]),
        ("available", "", ["attach", "destroy"]),
        ("in-use", "attaching", ["detach"]),
        ("in-use", "attached", ["detach"]),
        ("in-use", "busy", ["attach", "destroy"]),
        ("in-use", "detaching", ["attach", "destroy"]),
        ("error", "", ["destroy"]),
        ("deleting", "", []),
        ("error_deleting", "", []),
        ("", "", []),
    ],
)
def test_actions_of_a_volume_are_those_that_its_state_allows(status, attachment_status, expected):
    attachments = (Attachment("i-1", "sdf", attachment_status),)
    record = Volume(
        "vol-12345678", "", "", status, "8", "", "", attachments if attachment_status else ()
    )
    [volume] = translation.storage_volumes([record])
    assert [action.rel for action in volume.actions] == expected
