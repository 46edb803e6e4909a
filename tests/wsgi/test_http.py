"""HEAD, OPTIONS, conditional requests, and the headers of every response."""

import pytest

from tests.support.addresses import SNAPSHOT, SNAPSHOTS

ADDRESSES = [
    "/api",
    "/api/drivers",
    "/api/drivers/ec2",
    "/api/realms",
    "/api/realms/us-east-1a",
    "/api/storage_volumes",
    SNAPSHOTS,
]


@pytest.mark.parametrize("format", ["xml", "json", "html"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_head_is_get_without_the_body(client, address, format):
    same = {"X-Request-Id": "one-and-the-same"}
    of_get = client.get(f"{address}?format={format}", headers=same)
    of_head = client.head(f"{address}?format={format}", headers=same)
    assert of_head.body == b""
    assert dict(of_head.headers) == dict(of_get.headers)


def test_head_of_an_error_has_its_status(client):
    assert client.head(f"{SNAPSHOTS}/snap-00000000", status=404).body == b""


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("/api", "GET, HEAD, OPTIONS"),
        ("/api/drivers/ec2", "GET, HEAD, OPTIONS"),
        (SNAPSHOTS, "GET, HEAD, OPTIONS, POST"),
        (f"{SNAPSHOTS}/new", "GET, HEAD, OPTIONS"),
        (SNAPSHOT, "DELETE, GET, HEAD, OPTIONS, POST"),
    ],
)
def test_options_lists_the_methods_without_credentials(anonymous_client, address, allowed):
    response = anonymous_client.options(address, status=200)
    assert response.headers["Allow"] == allowed
    assert response.body == b""
    assert "Content-Type" not in response.headers


def test_options_of_an_unknown_address_is_404(anonymous_client):
    anonymous_client.options("/api/nothing", status=404)


def test_matching_etag_is_304_without_a_body(client, ec2, snapshot_id):
    address = f"{SNAPSHOTS}/{snapshot_id}"
    tag = client.get(address).headers["ETag"]
    unchanged = client.get(address, headers={"If-None-Match": tag}, status=304)
    assert unchanged.body == b""
    assert unchanged.headers["ETag"] == tag
    ec2.create_tags(Resources=[snapshot_id], Tags=[{"Key": "Name", "Value": "changed"}])
    changed = client.get(address, headers={"If-None-Match": tag}, status=200)
    assert changed.headers["ETag"] != tag


def test_range_header_is_ignored(client, snapshot_id):
    address = f"{SNAPSHOTS}/{snapshot_id}"
    response = client.get(address, headers={"Range": "bytes=0-9"}, status=200)
    assert response.body == client.get(address).body


@pytest.mark.parametrize("address", ["/api", "/api/nothing", SNAPSHOTS])
def test_headers_of_every_response(anonymous_client, address):
    response = anonymous_client.get(address, expect_errors=True)
    assert response.headers["Cache-Control"] == "max-age=0, private, must-revalidate"
    assert response.headers["Server"] == "Apache-Deltacloud/1.1.3"
    assert response.headers["X-Deltacloud-Driver"] == "ec2"
    assert response.headers["Via"] == "1.1 dcproxy"
