"""Hrefs follow the request: its scheme, host, port and mount prefix."""

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.documents import read_xml


@pytest.mark.parametrize(
    ("environ", "base"),
    [
        ({"HTTP_HOST": "cloud.example.org"}, "http://cloud.example.org"),
        ({"HTTP_HOST": "cloud.example.org:8080"}, "http://cloud.example.org:8080"),
        (
            {"HTTP_HOST": "cloud.example.org", "wsgi.url_scheme": "https"},
            "https://cloud.example.org",
        ),
        ({"HTTP_HOST": "[::1]:3001"}, "http://[::1]:3001"),
        ({"HTTP_HOST": "old_cloud:3001"}, "http://old_cloud:3001"),
        ({"SCRIPT_NAME": "/clouds/old"}, "http://localhost:3001/clouds/old"),
    ],
)
def test_hrefs_are_built_from_the_request(client, snapshot_id, environ, base):
    entry = read_xml(client.get("/api", extra_environ=environ))
    assert entry.find("link[@rel='storage_snapshots']").get("href") == f"{base}{SNAPSHOTS}"
    snapshot = read_xml(client.get(f"{SNAPSHOTS}/{snapshot_id}", extra_environ=environ))
    assert snapshot.get("href") == f"{base}{SNAPSHOTS}/{snapshot_id}"
    [listed] = read_xml(client.get(f"{SNAPSHOTS}?id={snapshot_id}", extra_environ=environ))
    assert listed.get("href") == snapshot.get("href")
    volume = snapshot.find("storage_volume")
    assert volume.get("href") == f"{base}/api/storage_volumes/{volume.get('id')}"


def test_prefix_is_percent_encoded_in_hrefs(client):
    entry = read_xml(client.get("/api", extra_environ={"SCRIPT_NAME": "/a b&'"}))
    assert (
        entry.find("link[@rel='storage_snapshots']").get("href")
        == f"http://localhost:3001/a%20b&'{SNAPSHOTS}"
    )


def test_hrefs_keep_the_driver_and_the_provider(client):
    entry = read_xml(client.get("/api;driver=ec2;provider=eu-west-1"))
    assert entry.find("link[@rel='storage_snapshots']").get("href") == (
        "http://localhost:3001/api;driver=ec2;provider=eu-west-1/storage_snapshots"
    )


@pytest.mark.parametrize(
    "host", ["a b", "<script>", "a/b", "a@b", "a:999999", ":80", "a\\b", "a'b"]
)
def test_invalid_host_is_400(client, host):
    response = client.get("/api", extra_environ={"HTTP_HOST": host}, status=400)
    assert "Host" in read_xml(response).findtext("message")
