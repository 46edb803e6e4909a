"""The entry point, with and without credentials."""

from tests.support.documents import read_xml
from tests.support.ec2_responses import error_response, xml_response
from tests.support.responders import always

ZONES = xml_response("DescribeAvailabilityZonesResponse", "<availabilityZoneInfo/>")


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


def test_entry_point_in_json(anonymous_client):
    api = anonymous_client.get("/api?format=json").json["api"]
    assert (api["version"], api["driver"], api["provider"]) == ("1.1.3", "ec2", None)
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
    for value in ("1", "true"):
        programmed_client.get(f"/api?force_auth={value}", status=200)
    assert len(programmed_ec2.requests) == 2


def test_force_auth_rejects_invalid_credentials(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(error_response("AuthFailure", 401))
    response = programmed_client.get("/api?force_auth=1", status=401)
    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


def test_force_auth_accepts_valid_credentials_without_permissions(
    programmed_client, programmed_ec2
):
    programmed_ec2.respond = always(error_response("UnauthorizedOperation", 403))
    programmed_client.get("/api?force_auth=1", status=200)


def test_force_auth_without_credentials_is_401(anonymous_client):
    anonymous_client.get("/api?force_auth=1", status=401)


def test_entry_point_without_force_auth_does_not_call_ec2(programmed_client, programmed_ec2):
    for query in ("", "?force_auth=0", "?force_auth=false", "?force_auth="):
        programmed_client.get(f"/api{query}", status=200)
    assert programmed_ec2.requests == []


def test_driver_and_provider_headers(anonymous_client):
    named = anonymous_client.get("/api", headers={"X-Deltacloud-Provider": "eu-west-1"})
    assert named.headers["X-Deltacloud-Driver"] == "ec2"
    assert named.headers["X-Deltacloud-Provider"] == "eu-west-1"
    assert "X-Deltacloud-Provider" not in anonymous_client.get("/api").headers
