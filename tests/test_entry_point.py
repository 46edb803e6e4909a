"""The entry point, with and without credentials."""

from tests.conftest import client_of
from tests.programmed_ec2 import answer, refusal

ZONES = answer("DescribeAvailabilityZonesResponse", "<availabilityZoneInfo/>")


def test_it_needs_no_credentials_and_names_version_and_driver(stranger, xml):
    for address in ("/api", "/api/"):
        root = xml(stranger.get(address))
        assert (root.tag, root.get("driver"), root.get("version")) == ("api", "ec2", "1.1.3")
        assert root.get("provider") is None


def test_it_names_the_provider_that_the_request_names(stranger, xml):
    assert xml(stranger.get("/api;provider=eu-west-1")).get("provider") == "eu-west-1"


def test_it_links_the_snapshots_with_their_features(stranger, xml):
    [link] = xml(stranger.get("/api")).xpath("link[@rel='storage_snapshots']")
    assert link.get("href") == "http://localhost:3001/api/storage_snapshots"
    assert [
        (feature.get("name"), feature.get("rel"), feature.find("param").get("name"))
        for feature in link
    ] == [
        ("owner_id", "index", "owner_id"),
        ("snapshot_name", "create", "name"),
        ("snapshot_description", "create", "description"),
    ]


def test_json_says_the_same(stranger):
    api = stranger.get("/api?format=json").json["api"]
    assert (api["version"], api["driver"], api["provider"]) == ("1.1.3", "ec2", None)
    [link] = [link for link in api["links"] if link["rel"] == "storage_snapshots"]
    assert link["href"] == "http://localhost:3001/api/storage_snapshots"
    assert [feature["name"] for feature in link["features"]] == [
        "owner_id",
        "snapshot_name",
        "snapshot_description",
    ]


def test_server_header_is_the_version_of_the_document(stranger, xml):
    response = stranger.get("/api")
    assert response.headers["Server"] == f"Apache-Deltacloud/{xml(response).get('version')}"


def test_force_auth_lets_in_whom_ec2_knows(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: ZONES
    for value in ("1", "true"):
        client_of_programmed.get(f"/api?force_auth={value}", status=200)
    assert len(programmed_ec2.requests) == 2


def test_force_auth_refuses_whom_ec2_does_not_know(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: refusal("AuthFailure", 401)
    response = client_of_programmed.get("/api?force_auth=1", status=401)
    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


def test_force_auth_lets_in_whom_ec2_knows_but_allows_little(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: refusal("UnauthorizedOperation", 403)
    client_of_programmed.get("/api?force_auth=1", status=200)


def test_force_auth_without_credentials_is_401(stranger):
    stranger.get("/api?force_auth=1", status=401)


def test_without_force_auth_ec2_is_not_asked(client_of_programmed, programmed_ec2):
    for query in ("", "?force_auth=0", "?force_auth=false", "?force_auth="):
        client_of_programmed.get(f"/api{query}", status=200)
    assert programmed_ec2.requests == []


def test_driver_and_provider_headers(settings):
    client = client_of(settings, caller=None)
    named = client.get("/api", headers={"X-Deltacloud-Provider": "eu-west-1"})
    assert named.headers["X-Deltacloud-Driver"] == "ec2"
    assert named.headers["X-Deltacloud-Provider"] == "eu-west-1"
    assert "X-Deltacloud-Provider" not in client.get("/api").headers
