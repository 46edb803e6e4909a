"""The entry point, with and without credentials."""

import pytest

from tests.support.documents import read_xml
from tests.support.ec2_responses import EC2Response, error_response, xml_response
from tests.support.responders import always

ZONES = xml_response("DescribeAvailabilityZonesResponse", "<availabilityZoneInfo/>")
FORCE_AUTH = ["force_auth=1", "force_auth=true", "force_auth=0", "force_auth=false", "force_auth="]


def test_entry_point_needs_no_credentials_and_names_version_and_driver(anonymous_client):
    for address in ("/api", "/api/"):
        root = read_xml(anonymous_client.get(address))
        assert (root.tag, root.get("driver"), root.get("version")) == ("api", "ec2", "1.1.3")
        assert root.get("provider") is None


def test_entry_point_names_the_provider_of_the_request(anonymous_client):
    assert read_xml(anonymous_client.get("/api;provider=eu-west-1")).get("provider") == "eu-west-1"


def test_entry_point_links_snapshots_with_their_features(anonymous_client):
    [link] = read_xml(anonymous_client.get("/api")).xpath("link[@rel='storage_snapshots']")
    assert link.get("href") == "http://localhost:3001/api/storage_snapshots"
    assert [
        (feature.get("name"), feature.get("rel"), feature.find("param").get("name"))
        for feature in link
    ] == [
        ("owner_id", "index", "owner_id"),
        ("snapshot_name", "create", "name"),
        ("snapshot_description", "create", "description"),
    ]


def test_entry_point_links_volumes_with_their_features(anonymous_client):
    [link] = read_xml(anonymous_client.get("/api")).xpath("link[@rel='storage_volumes']")
    assert [
        (feature.get("name"), feature.get("rel"), feature.find("param").get("name"))
        for feature in link
    ] == [("volume_name", "create", "name"), ("volume_description", "create", "description")]


def test_entry_point_in_json(anonymous_client):
    api = anonymous_client.get("/api?format=json").json["api"]
    assert (api["version"], api["driver"], api["provider"]) == ("1.1.3", "ec2", "default")
    [link] = [link for link in api["links"] if link["rel"] == "storage_snapshots"]
    assert link["href"] == "http://localhost:3001/api/storage_snapshots"
    assert [feature["name"] for feature in link["features"]] == [
        "owner_id",
        "snapshot_name",
        "snapshot_description",
    ]


def test_server_header_matches_the_version_of_the_document(anonymous_client):
    response = anonymous_client.get("/api")
    assert response.headers["Server"] == f"Apache-Deltacloud/{read_xml(response).get('version')}"


def test_force_auth_accepts_valid_credentials(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(ZONES)
    for query in FORCE_AUTH:
        programmed_client.get(f"/api?{query}", status=200)
    assert len(programmed_ec2.requests) == len(FORCE_AUTH)


@pytest.mark.parametrize("query", FORCE_AUTH)
def test_force_auth_rejects_invalid_credentials(programmed_client, programmed_ec2, query):
    programmed_ec2.respond = always(error_response("AuthFailure", 401))
    response = programmed_client.get(f"/api?{query}", status=401)
    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("code", ["UnauthorizedOperation", "AccessDenied"])
def test_force_auth_accepts_valid_credentials_without_permissions(
    programmed_client, programmed_ec2, code
):
    programmed_ec2.respond = always(error_response(code, 403))
    programmed_client.get("/api?force_auth=1", status=200)


@pytest.mark.parametrize(
    "response",
    [
        *(error_response(code, 403) for code in ("AuthFailure", "Blocked", "OptInRequired", "X")),
        error_response("InvalidSnapshot.NotFound", 404),
        error_response("UnauthorizedOperation", 503),
        *(EC2Response(b"<html>Forbidden</html>", status) for status in (401, 403, 404)),
        *(EC2Response(b"", status) for status in (401, 403, 404)),
    ],
)
def test_force_auth_lets_nobody_in_on_another_refusal(programmed_client, programmed_ec2, response):
    programmed_ec2.respond = always(response)
    programmed_client.get("/api?force_auth=1", status=502)


@pytest.mark.parametrize("query", FORCE_AUTH)
def test_force_auth_without_credentials_is_401(anonymous_client, query):
    anonymous_client.get(f"/api?{query}", status=401)


def test_entry_point_without_force_auth_does_not_call_ec2(programmed_client, programmed_ec2):
    for query in ("", "?FORCE_AUTH=1", "?x=force_auth"):
        programmed_client.get(f"/api{query}", status=200)
    assert programmed_ec2.requests == []


def test_driver_and_provider_headers(anonymous_client):
    named = anonymous_client.get("/api", headers={"X-Deltacloud-Provider": "eu-west-1"})
    assert named.headers["X-Deltacloud-Driver"] == "ec2"
    assert named.headers["X-Deltacloud-Provider"] == "eu-west-1"
    assert "X-Deltacloud-Provider" not in anonymous_client.get("/api").headers
