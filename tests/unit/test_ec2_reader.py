"""Native EC2 XML to records, from the bytes that EC2 sends."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from dcproxy.ec2 import reader
from dcproxy.ec2.reader import UnreadableError
from dcproxy.ec2.records import Snapshot
from tests.support.ec2_responses import (
    created_response,
    snapshot_item,
    snapshots_page,
    xml_response,
)

# As EC2 answers it, line by line (EC2 API reference, DescribeSnapshots).
PAGE = b"""<?xml version="1.0" encoding="UTF-8"?>
<DescribeSnapshotsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId>
    <snapshotSet>
        <item>
            <snapshotId>snap-1a2b3c4d</snapshotId>
            <volumeId>vol-1a2b3c4d</volumeId>
            <status>pending</status>
            <startTime>2013-02-07T17:10:23.000Z</startTime>
            <progress>80%</progress>
            <ownerId>111122223333</ownerId>
            <volumeSize>15</volumeSize>
            <description>Daily Backup</description>
            <tagSet>
                <item>
                    <key>purpose</key>
                    <value>demo_db_14_backup</value>
                </item>
                <item>
                    <key>Name</key>
                    <value>nightly</value>
                </item>
            </tagSet>
            <encrypted>true</encrypted>
            <storageTier>standard</storageTier>
        </item>
        <item>
            <snapshotId>snap-0123456789abcdef0</snapshotId>
            <volumeId>vol-ffffffff</volumeId>
            <status>completed</status>
            <startTime>2008-10-20T18:23:59.000Z</startTime>
            <progress>100%</progress>
            <ownerId>111122223333</ownerId>
            <ownerAlias>amazon</ownerAlias>
            <volumeSize>1</volumeSize>
            <description/>
            <neverSeenBefore><snapshotId>snap-99999999</snapshotId></neverSeenBefore>
        </item>
    </snapshotSet>
    <nextToken>eyJ2IjoiMiIsImMiOiI=</nextToken>
</DescribeSnapshotsResponse>"""


def test_page_from_the_ec2_reference_is_parsed():
    page = reader.snapshots(PAGE)
    assert page.records == [
        Snapshot(
            id="snap-1a2b3c4d",
            volume_id="vol-1a2b3c4d",
            start_time="2013-02-07T17:10:23.000Z",
            status="pending",
            description="Daily Backup",
            name="nightly",
        ),
        Snapshot(
            id="snap-0123456789abcdef0",
            volume_id="vol-ffffffff",
            start_time="2008-10-20T18:23:59.000Z",
            status="completed",
            description="",
            name="",
        ),
    ]
    assert page.next_token == "eyJ2IjoiMiIsImMiOiI="


def test_last_page_has_no_token():
    assert reader.snapshots(snapshots_page("").body).next_token == ""


@pytest.mark.parametrize("empty", ["<snapshotSet/>", "<snapshotSet></snapshotSet>", ""])
def test_empty_list(empty):
    assert reader.snapshots(xml_response("DescribeSnapshotsResponse", empty).body).records == []


def test_other_api_version_is_parsed_alike():
    old = PAGE.replace(b"2016-11-15", b"2010-08-31")
    assert reader.snapshots(old) == reader.snapshots(PAGE)


@pytest.mark.parametrize("namespace", [b"", b' xmlns="urn:cloud"', b' xmlns:x="urn:cloud"'])
def test_other_namespace_is_parsed_alike(namespace):
    native = b' xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
    page = PAGE.replace(native, namespace)
    if b"xmlns:x" in namespace:
        page = page.replace(b"<DescribeS", b"<x:DescribeS").replace(
            b"</DescribeS", b"</x:DescribeS"
        )
    assert reader.snapshots(page) == reader.snapshots(PAGE)
    assert reader.detailed_snapshots(page) == reader.detailed_snapshots(PAGE)


@pytest.mark.parametrize(
    "text",
    [
        "&#x1b;",
        "&#X0000B;",
        "&#27;",
        "&#11;",
        "&#xD800;",
        "&#xfffe;",
        "\x0b",
        "\x00",
        "\x1f",
        "\uffff",
        "&#x1b;[1m\x0b",
    ],
)
def test_characters_that_xml_cannot_hold_are_left_out(text):
    description = text.removesuffix("[1m\x0b").encode() + b"Daily&#x9;&#233;"
    page = PAGE.replace(b"Daily", description).replace(b"nightly", b"night" + text.encode())
    first, second = reader.snapshots(page).records
    assert first.description == "Daily\té Backup"
    assert first.name.replace("[1m", "") == "night"
    assert second == reader.snapshots(PAGE).records[1]


@pytest.mark.parametrize("text", [b"&#&#27;27;", b"&#x1", b"&#x110000;", b"\xff"])
def test_what_is_still_no_xml_is_unreadable(text):
    with pytest.raises(UnreadableError):
        reader.snapshots(PAGE.replace(b"Daily", text))


@pytest.mark.parametrize(
    ("element", "field"),
    [
        ("volumeId", "volume_id"),
        ("status", "status"),
        ("startTime", "start_time"),
        ("description", "description"),
    ],
)
def test_missing_element_gives_an_empty_field_and_shifts_no_other(element, field):
    def without(item):
        root = etree.fromstring(item)
        root.remove(root.find(element))
        return etree.tostring(root).decode()

    first, second, third = (
        snapshot_item(f"snap-{n}", f"vol-{n}", description=f"text {n}", name=f"name {n}")
        for n in ("11111111", "22222222", "33333333")
    )
    whole = reader.snapshots(snapshots_page(first + second + third).body).records
    cut = reader.snapshots(snapshots_page(first + without(second) + third).body).records
    assert cut == [whole[0], whole[1]._replace(**{field: ""}), whole[2]]


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f\ufffe\uffff"))


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_any_text_is_parsed_into_its_own_field(texts):
    root = etree.fromstring(snapshots_page("").body)
    namespace = f"{{{etree.QName(root).namespace}}}"
    expected = []
    for number, (description, name) in enumerate(texts):
        item = etree.fromstring(snapshot_item(f"snap-{number:08x}", name="x"))
        try:
            item.find("description").text = description
            item.find("tagSet/item/value").text = name
        except ValueError:  # not a text that XML can hold
            return
        for element in item.iter():
            element.tag = namespace + element.tag
        root.find(f"{namespace}snapshotSet").append(item)
        expected.append((description, name))
    records = reader.snapshots(etree.tostring(root, encoding="utf-8")).records
    assert [(record.description, record.name) for record in records] == expected


def test_created_snapshot_is_parsed():
    item = snapshot_item("snap-12345678", "vol-12345678", status="pending", name="weekly")
    snapshot = reader.created_snapshot(created_response(item).body)
    assert (snapshot.id, snapshot.volume_id) == ("snap-12345678", "vol-12345678")
    assert (snapshot.status, snapshot.name) == ("pending", "weekly")


@pytest.mark.parametrize("action", ["DeleteSnapshot", "DeleteVolume"])
def test_deletion_is_parsed(action):
    reader.deleted(xml_response(f"{action}Response", "<return>true</return>").body, action)


@pytest.mark.parametrize("action", ["DeleteSnapshot", "DeleteVolume"])
@pytest.mark.parametrize("root", ["DeleteSnapshotResponse", "DeleteVolumeResponse"])
def test_denied_deletion_is_unreadable(action, root):
    with pytest.raises(UnreadableError):
        reader.deleted(xml_response(root, "<return>false</return>").body, action)


BOMB = b"""<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">%s]>""" % b"".join(
    b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10)
)


@pytest.mark.parametrize(
    "prolog",
    [
        BOMB,
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
    ],
)
@pytest.mark.parametrize("reference", [b"", b"&a9;", b"&e;"])
def test_document_types_and_entities_are_unreadable(prolog, reference):
    page = snapshots_page(snapshot_item("snap-12345678", description="ENTITY")).body
    hostile = page.replace(b"?>\n", b"?>" + prolog, 1).replace(b"ENTITY", reference)
    with pytest.raises(UnreadableError):
        reader.snapshots(hostile)


@pytest.mark.parametrize("text", [b"1 ", b"1 Jan "])
def test_long_time_is_empty_at_once(text):
    page = PAGE.replace(b"2013-02-07T17:10:23.000Z", text * 100_000)
    started = process_time()
    assert reader.snapshots(page).records[0].start_time == ""
    assert process_time() - started < 0.5


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_unreadable(response):
    with pytest.raises(UnreadableError):
        reader.snapshots(response)


@given(st.integers(0, len(PAGE) - 1), st.binary(max_size=3))
def test_damaged_page_is_parsed_or_unreadable(position, damage):
    try:
        page = reader.snapshots(PAGE[:position] + damage + PAGE[position + len(damage) :])
    except UnreadableError:
        return
    assert all(record.id for record in page.records)
