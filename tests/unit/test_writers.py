"""Records to documents, in each format."""

import json
from hashlib import sha256
from importlib.resources import files

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from dcproxy.deltacloud import json_writer, xml_writer
from dcproxy.deltacloud.html import writer as html_writer
from dcproxy.deltacloud.models import ErrorDocument, Mount, StorageSnapshot, StorageVolume
from tests.support.package import URLS

SNAPSHOT = StorageSnapshot(
    id="snap-45b8d024",
    name="snap-45b8d024",
    description="",
    created="Thu Jul 28 21:54:19 UTC 2011",
    created_iso="2011-07-28T21:54:19.000Z",
    state="completed",
    volume_id="vol-0bc0de60",
    volume_is_known=True,
)
COLLECTION = "storage_snapshots"
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"))


def read_xml(text):
    return etree.fromstring(text.encode())


def test_snapshot_in_xml_matches_the_api_page():
    assert xml_writer.document(
        "storage_snapshot", SNAPSHOT._replace(description="d & e"), URLS
    ) == (
        "<?xml version='1.0' encoding='utf-8' ?>\n"
        "<storage_snapshot href='http://localhost:3001/api/storage_snapshots/snap-45b8d024'"
        " id='snap-45b8d024'>\n"
        "  <name>snap-45b8d024</name>\n"
        "  <description>d &amp; e</description>\n"
        "  <created>Thu Jul 28 21:54:19 UTC 2011</created>\n"
        "  <state>completed</state>\n"
        "  <storage_volume href='http://localhost:3001/api/storage_volumes/vol-0bc0de60'"
        " id='vol-0bc0de60'></storage_volume>\n"
        "</storage_snapshot>\n"
    )


def test_snapshot_in_json():
    assert json.loads(json_writer.document("storage_snapshot", SNAPSHOT, URLS)) == {
        "storage_snapshot": {
            "id": "snap-45b8d024",
            "href": "http://localhost:3001/api/storage_snapshots/snap-45b8d024",
            "name": "snap-45b8d024",
            "description": None,
            "state": "completed",
            "created": "Thu Jul 28 21:54:19 UTC 2011",
            "storage_volume": {
                "id": "vol-0bc0de60",
                "href": "http://localhost:3001/api/storage_volumes/vol-0bc0de60",
                "rel": "storage_volume",
            },
        }
    }


def test_missing_fields_of_a_snapshot_are_omitted():
    bare = SNAPSHOT._replace(volume_id="", volume_is_known=False, created="", created_iso="")
    assert [
        child.tag for child in read_xml(xml_writer.document("storage_snapshot", bare, URLS))
    ] == ["name", "state"]
    in_json = json.loads(json_writer.document("storage_snapshot", bare, URLS))["storage_snapshot"]
    assert (in_json["created"], in_json["storage_volume"]) == (None, None)
    html_writer.document("storage_snapshot", bare, URLS)


@pytest.mark.parametrize("documents", [xml_writer, json_writer, html_writer])
def test_list_is_rendered_page_by_page(documents):
    taken = []

    def pages():
        for number in range(3):
            taken.append(number)
            yield [SNAPSHOT]

    seen = []
    for text in documents.collection(COLLECTION, pages(), URLS):
        seen.append((len(taken), "snap-45b8d024" in text))
    assert [count for count, has_snapshot in seen if has_snapshot] == [1, 2, 3]


@given(TEXTS, TEXTS)
def test_any_text_survives_every_format(name, description):
    snapshot = SNAPSHOT._replace(name=name, description=description)
    expected = (name, description)
    root = read_xml(xml_writer.document("storage_snapshot", snapshot, URLS))
    assert (root.findtext("name", ""), root.findtext("description", "")) == expected
    value = json.loads(json_writer.document("storage_snapshot", snapshot, URLS))["storage_snapshot"]
    assert (value["name"], value["description"] or "") == expected
    page = BeautifulSoup(html_writer.document("storage_snapshot", snapshot, URLS), "html.parser")
    assert page.find("dd").text == expected[0]


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_error_in_xml_is_always_well_formed(message, url, parameters):
    error = ErrorDocument(400, "Bad Request", message, "", url, "", parameters)
    text = xml_writer.document("error", error, URLS)
    root = read_xml(text.encode("utf-8", "replace").decode())
    assert len(root.findall("request/param")) == len(parameters)


def test_white_space_in_attributes_survives():
    text = " a\tb\nc\rd "
    volume = StorageVolume(
        id="vol-0bc0de60",
        name="data",
        description="",
        created="Thu Jul 28 21:54:19 UTC 2011",
        created_iso="2011-07-28T21:54:19.000Z",
        state="IN-USE",
        capacity=8,
        realm_id="us-east-1a",
        mounts=[Mount("i-1a2b3c4d", text)],
        actions=(),
    )
    document = xml_writer.document("storage_volume", volume, URLS)
    assert "name=' a&#9;b&#10;c&#13;d '" in document
    root = read_xml(document)
    assert root.find("mount/device").get("name") == text
    assert root.findtext("device") == text


@given(TEXTS, st.sampled_from("\t\n\r"))
def test_any_text_survives_in_attributes(text, space):
    url = f"/api?id={space}{text}{space}"
    error = ErrorDocument(400, "Bad Request", "", "", url, "", {url: url})
    root = read_xml(xml_writer.document("error", error, URLS))
    assert root.get("url") == root.find("request/param").get("name") == url


def test_stylesheet_is_that_of_the_npm_package():
    """Simple.css is not edited: rules of dcproxy are in style.css."""
    [file] = (files("dcproxy.deltacloud.html") / "templates").glob("simple-*.css")
    assert file.name == "simple-2.3.7.min.css"
    digest = "fb0624582679e4af905268e0fb461128583a49b5d9e5d8675d1c9e2fc34c7d3d"
    assert sha256(file.read_bytes()).hexdigest() == digest
