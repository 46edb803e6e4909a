"""The documentation of the API below /api/docs, which ``deltacloudc -l`` reads."""

import pytest

from tests.support.documents import read_xml

COLLECTIONS = ["drivers", "realms", "storage_snapshots", "storage_volumes"]
BASE = "http://localhost:3001/api"


def test_docs_list_the_collections_in_xml(anonymous_client):
    root = read_xml(anonymous_client.get("/api/docs"))
    assert (root.tag, dict(root.attrib)) == ("docs", {"status": "supported"})
    assert [collection.findtext("name") for collection in root] == COLLECTIONS
    assert root.xpath("collection/@url") == [f"{BASE}/docs/{name}" for name in COLLECTIONS]
    assert all(root.xpath("collection/description/text()"))


def test_docs_of_a_collection_in_xml(anonymous_client):
    root = read_xml(anonymous_client.get("/api/docs/storage_snapshots"))
    [collection] = root
    assert (root.tag, dict(root.attrib)) == ("docs", {"status": "supported"})
    assert (collection.tag, dict(collection.attrib)) == (
        "collection",
        {"url": f"{BASE}/docs/storage_snapshots", "name": "storage_snapshots"},
    )
    assert [
        (
            operation.get("name"),
            operation.get("method"),
            [(parameter.get("name"), parameter.get("type")) for parameter in operation[1:]],
        )
        for operation in collection.findall("operations/operation")
    ] == [
        ("index", "GET", [("id", "optional"), ("owner_id", "optional")]),
        ("show", "GET", [("id", "required")]),
        (
            "create",
            "POST",
            [("volume_id", "required"), ("name", "optional"), ("description", "optional")],
        ),
        ("destroy", "DELETE", [("id", "required")]),
    ]
    assert set(collection.xpath("operations/operation/@href")) == {f"{BASE}/storage_snapshots"}
    assert all(collection.xpath("operations/operation/description/text()"))
    assert set(collection.xpath("operations/operation/parameter/class/text()")) == {"string"}


@pytest.mark.parametrize("name", COLLECTIONS)
def test_each_collection_is_documented_in_each_format(anonymous_client, name):
    address = f"/api/docs/{name}"
    assert read_xml(anonymous_client.get(address)).find("collection").get("name") == name
    docs = anonymous_client.get(f"{address}?format=json").json["docs"]
    assert docs["name"] == name
    assert docs["url"] == f"{BASE}/docs/{name}"
    assert [operation["name"] for operation in docs["operations"]][:2] == ["index", "show"]
    page = anonymous_client.get(address, headers={"Accept": "text/html"}).html
    assert page.h1.text == f"Documentation of {name.replace('_', ' ')}"
    rows = [row.th.text for row in page.tbody.find_all("tr")]
    assert rows == [operation["name"] for operation in docs["operations"]]


def test_docs_list_the_collections_in_json_and_html(anonymous_client):
    docs = anonymous_client.get("/api/docs?format=json").json["docs"]
    assert [collection["name"] for collection in docs] == COLLECTIONS
    page = anonymous_client.get("/api/docs?format=html").html
    links = [link["href"] for link in page.main.find_all("a")]
    assert links == [f"{BASE}/docs/{name}" for name in COLLECTIONS]


@pytest.mark.parametrize("name", ["instances", "storage_snapshot", "docs", "%3Cx%3E", "..."])
@pytest.mark.parametrize("format", ["xml", "json", "html"])
def test_unknown_collection_is_404(anonymous_client, name, format):
    anonymous_client.get(f"/api/docs/{name}?format={format}", status=404)


def test_links_of_the_docs_stay_in_the_region(anonymous_client):
    root = read_xml(anonymous_client.get("/api;provider=eu-west-1/docs"))
    assert root[0].get("url") == f"{BASE};provider=eu-west-1/docs/drivers"


def test_docs_do_not_call_ec2(programmed_client, programmed_ec2):
    programmed_client.get("/api/docs")
    programmed_client.get("/api/docs/storage_snapshots")
    assert programmed_ec2.requests == []


def test_entry_point_does_not_list_the_docs_as_a_collection(anonymous_client):
    assert read_xml(anonymous_client.get("/api")).xpath("link/@rel") == COLLECTIONS
