"""Content negotiation."""

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.documents import read_xml

HTML_UTF_8 = "text/html; charset=utf-8"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
def snapshot_id(ec2):
    """Create the snapshot that all tests here read."""
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)
    return ec2.create_snapshot(VolumeId=volume["VolumeId"])["SnapshotId"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/xml"),
        ("", "application/xml"),
        ("*/*", "application/xml"),
        ("application/*", "application/xml"),
        ("application/xml", "application/xml"),
        ("*/*; q=0.5, application/xml", "application/xml"),
        ("application/json", "application/json"),
        ("application/xml;q=0.5, application/json", "application/json"),
        ("application/json;q=0, */*", "application/xml"),
        ("text/html", HTML_UTF_8),
        ("text/html, */*", HTML_UTF_8),
        ("TEXT/HTML, */*", HTML_UTF_8),
        (BROWSER, HTML_UTF_8),
        ("application/json; charset=utf-8", "application/json"),
        ("text/html;level=1", HTML_UTF_8),
        ("application/json;q=0.5;x=y, application/xml", "application/xml"),
        ("application/json-patch+json, */*", "application/xml"),
        ("not a header", "application/xml"),
        ("text/xml", "application/xml"),
        ("Text/XML; charset=utf-8", "application/xml"),
        ("text/xml;q=0.5, application/json", "application/json"),
        ("application/json;q=0.5, text/xml", "application/xml"),
        ("application/xml;q=0, text/xml", "application/xml"),
        ("application/xhtml+xml", HTML_UTF_8),
        ("application/xhtml+xml, */*;q=0.1", HTML_UTF_8),
        ("text/html;q=0.1, application/xhtml+xml;q=0.2, text/xml;q=0.15", HTML_UTF_8),
    ],
)
def test_accept_header_selects_the_format(client, snapshot_id, accept, content_type):
    headers = {} if accept is None else {"Accept": accept}
    for address in ("/api", f"{SNAPSHOTS}/{snapshot_id}", SNAPSHOTS):
        assert client.get(address, headers=headers).headers["Content-Type"] == content_type


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain",
        "text/xml;q=0",
        "application/xhtml",
        "image/png, text/css",
        "application/xml;q=0",
    ],
)
def test_unsupported_accept_header_is_406(client, accept):
    response = client.get(SNAPSHOTS, headers={"Accept": accept}, status=406)
    assert "application/json" in read_xml(response).findtext("message")


def test_format_parameter_overrides_accept(client):
    response = client.get("/api?format=json", headers={"Accept": BROWSER})
    assert response.headers["Content-Type"] == "application/json"


def test_unknown_format_parameter_is_406(client):
    message = read_xml(client.get("/api?format=yaml", status=406)).findtext("message")
    assert "yaml" in message
    assert "xml, json, html" in message


def test_errors_are_in_the_requested_format(client):
    assert client.get("/api/nothing?format=json", status=404).json["code"] == 404
    page = client.get("/api/nothing", headers={"Accept": BROWSER}, status=404)
    assert page.html.h1.text.startswith("404")


@pytest.mark.parametrize("query", ["a=%ff%00", "format=yaml", "a=%00&format=json"])
def test_error_in_the_query_falls_back_to_the_accept_header(client, query):
    headers = {"Accept": "application/json"}
    response = client.get(f"/api?{query}", headers=headers, expect_errors=True)
    assert response.status_code in {400, 406}
    assert response.headers["Content-Type"] == "application/json"
