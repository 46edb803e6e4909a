"""The translation of a page equals a simple reference translation."""

import json as json_module
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from dcproxy import native
from dcproxy.documents import json, xml
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


@settings(max_examples=300, deadline=None)
@given(st.lists(items(), max_size=5), st.booleans())
def test_translation_equals_the_reference_translation(snapshots, pretty):
    page = native_page(snapshots, pretty)
    plain = [
        reference_snapshot(item)
        for item in etree.fromstring(page).iterfind("e:snapshotSet/e:item", {"e": NAMESPACE})
    ]
    records = native.snapshots(page).records
    document = "".join(xml.storage_snapshots([records], URLS)).encode()
    assert [json_structure_of(snapshot) for snapshot in etree.fromstring(document)] == plain
    document = "".join(json.storage_snapshots([records], URLS))
    assert json_module.loads(document) == {"storage_snapshots": plain}
