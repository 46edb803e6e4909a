"""Responses that are valid by botocore's model of EC2 read as botocore reads them."""

from datetime import UTC, datetime, timedelta, timezone
from functools import cache

import pytest
from botocore.model import ServiceModel
from botocore.parsers import EC2QueryParser
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from dcproxy.ec2 import reader
from dcproxy.ec2.session import builtin_models

TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
        st.sampled_from("\t\n\r<>&'\"]\x7f\x85\ufdd0\u2028 "),
    ),
    max_size=12,
)
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=OFFSETS)
TIMES = st.one_of(
    MOMENTS.map(lambda time: time.isoformat(timespec="milliseconds")),
    MOMENTS.map(lambda time: f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"),
    MOMENTS.map(lambda time: time.replace(tzinfo=None).isoformat()),
    MOMENTS.map(lambda time: f"{time.replace(tzinfo=None, microsecond=0).isoformat()}Z"),
    MOMENTS.map(lambda time: time.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")),
    st.integers(1, 2**32).map(str),
)
NAMESPACES = st.sampled_from(
    [
        "http://ec2.amazonaws.com/doc/2016-11-15/",
        "http://ec2.amazonaws.com/doc/2013-06-15",
        "urn:something-else",
        None,
    ]
)


@cache
def model():
    return ServiceModel(builtin_models().load_service_model("ec2", "service-2"), "ec2")


REQUIRED = {"Snapshot": "SnapshotId", "Volume": "VolumeId", "AvailabilityZone": "ZoneName"}
"""For each structure, the member without which a record is unreadable."""


def scalars(shape):
    """Give a strategy for the text of a scalar shape."""
    return {
        "string": TEXTS,
        "timestamp": TIMES,
        "integer": st.integers(0, 2**31 - 1).map(str),
        "long": st.integers(0, 2**63 - 1).map(str),
        "boolean": st.sampled_from(["true", "false"]),
        "double": st.floats(allow_nan=False, allow_infinity=False).map(repr),
        "float": st.floats(allow_nan=False, allow_infinity=False).map(repr),
    }[shape.type_name]


@st.composite
def fill(draw, element, shape):
    """Fill an element with a value of a shape, any of its members absent."""
    namespace = etree.QName(element).namespace

    def child(name):
        return etree.SubElement(element, f"{{{namespace}}}{name}" if namespace else name)

    if shape.type_name == "structure":
        members = draw(st.permutations(list(shape.members.items())))
        for name, member in members:
            is_required = name == REQUIRED.get(shape.name)
            if is_required or name == "NextToken" or draw(st.booleans()):
                filled = draw(fill(child(member.serialization["name"]), member))
                if is_required:
                    filled.text = filled.text or "x"
    elif shape.type_name == "list":
        for _ in range(draw(st.integers(0, 3))):
            item = child(shape.member.serialization.get("name", "item"))
            draw(fill(item, shape.member))
    else:
        element.text = draw(scalars(shape))
    return element


@st.composite
def responses(draw, action):
    """Draw a response to an action, as bytes."""
    namespace = draw(NAMESPACES)
    name = f"{action}Response"
    root = etree.Element(
        f"{{{namespace}}}{name}" if namespace else name,
        nsmap={draw(st.sampled_from([None, "ec2"])): namespace} if namespace else None,
    )
    draw(fill(root, model().operation_model(action).output_shape))
    return etree.tostring(
        root,
        encoding=draw(st.sampled_from(["utf-8", "utf-16", "us-ascii"])),
        xml_declaration=True,
        pretty_print=draw(st.booleans()),
    )


def botocore_parsed(action, response):
    shape = model().operation_model(action).output_shape
    answer = {"status_code": 200, "headers": {}, "body": response}
    return EC2QueryParser().parse(answer, shape)


def tag(item, key):
    tags = item.get("Tags", [])
    return next((tag.get("Value", "") for tag in tags if tag.get("Key", "") == key), "") or ""


def utc(time):
    if time is None:
        return None
    time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def snapshot(item):
    return (
        item["SnapshotId"],
        item.get("VolumeId", ""),
        utc(item.get("StartTime")),
        item.get("State", ""),
        item.get("Description", ""),
        tag(item, "Name"),
    )


def volume(item):
    return (
        item["VolumeId"],
        item.get("AvailabilityZone", ""),
        utc(item.get("CreateTime")),
        item.get("State", ""),
        str(item.get("Size", "")),
        tag(item, "Name"),
        tag(item, "Description"),
        tuple(map(attachment, item.get("Attachments", []))),
    )


def attachment(item):
    return tuple(item.get(name, "") for name in ("InstanceId", "Device", "State"))


def zone(item):
    return item["ZoneName"], item.get("State", ""), item.get("ZoneType", "")


def comparable(record):
    """Give the fields of a record, its time parsed and to the millisecond."""
    fields = record._asdict()
    fields.pop("details", None)  # texts for pages, not comparable
    for name in ("start_time", "create_time"):
        if name in fields:
            text = fields[name]
            fields[name] = utc(datetime.fromisoformat(text)) if text else None
    return tuple(fields.values())


LISTS = [
    ("DescribeSnapshots", reader.snapshots, "Snapshots", snapshot),
    ("DescribeVolumes", reader.volumes, "Volumes", volume),
    ("DescribeAvailabilityZones", reader.zones, "AvailabilityZones", zone),
]


@pytest.mark.parametrize(("action", "read", "member", "expected"), LISTS)
def test_list_agrees_with_botocore(action, read, member, expected):
    @given(responses(action))
    def agrees(response):
        parsed = botocore_parsed(action, response)
        page = read(response)
        assert list(map(comparable, page.records)) == list(map(expected, parsed.get(member, [])))
        assert page.next_token == parsed.get("NextToken", "")

    agrees()


@given(responses("CreateSnapshot"))
def test_created_snapshot_agrees_with_botocore(response):
    parsed = botocore_parsed("CreateSnapshot", response)
    assert comparable(reader.created_snapshot(response)) == snapshot(parsed)


@given(responses("CreateVolume"))
def test_created_volume_agrees_with_botocore(response):
    parsed = botocore_parsed("CreateVolume", response)
    assert comparable(reader.created_volume(response)) == volume(parsed)


@given(responses("DescribeVolumes"))
def test_tags_of_a_volume_agree_with_botocore(response):
    volumes = botocore_parsed("DescribeVolumes", response).get("Volumes", [])
    if volumes:
        tags = [(tag.get("Key", ""), tag.get("Value", "")) for tag in volumes[0].get("Tags", [])]
        assert reader.volume_tags(response) == tags
    else:
        with pytest.raises(reader.UnreadableError):
            reader.volume_tags(response)


@pytest.mark.parametrize("action", ["AttachVolume", "DetachVolume"])
def test_attachment_agrees_with_botocore(action):
    @given(responses(action))
    def agrees(response):
        assert reader.attachment(response, action) == attachment(botocore_parsed(action, response))

    agrees()


@given(
    st.one_of(st.text(max_size=40), TIMES, st.from_regex(r"[0-9TZ:+. /-]{1,30}", fullmatch=True))
)
def test_any_time_is_read_or_unknown(text):
    time = reader._utc_time(text)
    assert time == "" or datetime.fromisoformat(time)
