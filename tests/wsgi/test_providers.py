"""The provider of a request is its EC2 region, and links stay in that region."""

from urllib.parse import urlencode

import pytest

from tests.support.application import client_of, shared_application
from tests.support.documents import read_xml

SNAPSHOTS = "/storage_snapshots"


@pytest.fixture
def snapshot_in(regional_ec2):
    def make(region):
        ec2 = regional_ec2(region)
        volume = ec2.create_volume(AvailabilityZone=f"{region}a", Size=1)["VolumeId"]
        return ec2.create_snapshot(VolumeId=volume)["SnapshotId"]

    return make


def test_snapshots_are_listed_only_in_their_region(client, snapshot_in):
    here, there = snapshot_in("us-east-1"), snapshot_in("eu-west-1")
    of_here = read_xml(client.get(f"/api{SNAPSHOTS}")).xpath("*/@id")
    of_there = read_xml(client.get(f"/api;provider=eu-west-1{SNAPSHOTS}")).xpath("*/@id")
    assert here in of_here
    assert here not in of_there
    assert there in of_there
    assert there not in of_here
    client.get(f"/api{SNAPSHOTS}/{there}", status=404)


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        (f"/api;provider=eu-west-1{SNAPSHOTS}", {}),
        (f"/api;driver=ec2;provider=eu-west-1{SNAPSHOTS}", {}),
        (f"/api;provider=eu-west-1;unknown=x{SNAPSHOTS}", {}),
        (f"/api%3Bprovider%3Deu-west-1{SNAPSHOTS}", {}),
        (f"/api;provider=eu%2Dwest%2D1{SNAPSHOTS}", {}),
        (f"/api{SNAPSHOTS}", {"X-Deltacloud-Provider": "eu-west-1"}),
        (f"/api;provider={SNAPSHOTS}", {"X-Deltacloud-Provider": "eu-west-1"}),
        (f"/api;provider=eu-west-1{SNAPSHOTS}", {"X-Deltacloud-Provider": "us-west-2"}),
        (
            f"/api;provider=eu-west-1{SNAPSHOTS}",
            {"X-Deltacloud-Provider": "mars-1", "X-Deltacloud-Driver": "ec2"},
        ),
        (f"/api{SNAPSHOTS}?api[provider]=eu-west-1", {}),
        (f"/api{SNAPSHOTS}?api%5Bdriver%5D=ec2&api%5Bprovider%5D=eu-west-1", {}),
        (f"/api;provider={SNAPSHOTS}?api[provider]=eu-west-1", {"X-Deltacloud-Provider": ""}),
        (
            f"/api{SNAPSHOTS}?api[provider]=eu-west-1&api[driver]=ec2",
            {"X-Deltacloud-Provider": "us-west-2", "X-Deltacloud-Driver": "mock"},
        ),
        (f"/api;provider=eu-west-1;driver=ec2{SNAPSHOTS}?api[provider]=mars-1&api[driver]=x", {}),
        # Each of the two names has its own first source.
        (f"/api;driver=ec2{SNAPSHOTS}?api[provider]=eu-west-1", {"X-Deltacloud-Driver": "mock"}),
        (f"/api;provider=EU-West-1;driver=EC2{SNAPSHOTS}", {}),
        (f"/api{SNAPSHOTS}", {"X-Deltacloud-Provider": "EU-WEST-1", "X-Deltacloud-Driver": "Ec2"}),
        (f"/api{SNAPSHOTS}?api[provider]=Eu-West-1&api[driver]=EC2", {}),
        (f"/api;provider=eu-west-1{SNAPSHOTS};provider=us-west-2", {}),
    ],
)
def test_request_selects_its_region(client, snapshot_in, address, headers):
    id = snapshot_in("eu-west-1")
    response = client.get(address, headers=headers)
    assert id in read_xml(response).xpath("*/@id")
    assert response.headers["X-Deltacloud-Provider"] == "eu-west-1"


def test_links_of_a_regional_document_stay_in_the_region(client, snapshot_in):
    id = snapshot_in("eu-west-1")
    base = "http://localhost:3001/api;driver=ec2;provider=eu-west-1"
    shown = read_xml(client.get(f"{base}{SNAPSHOTS}/{id}"))
    assert shown.get("href") == f"{base}{SNAPSHOTS}/{id}"
    assert shown.find("storage_volume").get("href").startswith(f"{base}/storage_volumes/vol-")
    volume = read_xml(client.get(shown.find("storage_volume").get("href")))
    assert volume.find("realm").get("href") == f"{base}/realms/eu-west-1a"


def test_snapshot_created_in_a_region_is_shown_there(client, snapshot_in, regional_ec2):
    ec2 = regional_ec2("eu-west-1")
    volume = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=1)["VolumeId"]
    response = client.post(f"/api;provider=eu-west-1{SNAPSHOTS}", {"volume_id": volume})
    client.get(response.headers["Location"], status=200)
    client.delete(response.headers["Location"], status=204)


@pytest.mark.parametrize(
    "matrix",
    [
        ";provider=eu-west-1;provider=us-east-1",
        ";provider=eu-west-1;provider=eu-west-1",
        ";driver=ec2;driver=ec2",
    ],
)
def test_duplicate_matrix_parameter_is_400(client, matrix):
    message = read_xml(client.get(f"/api{matrix}", status=400)).findtext("message")
    assert "repeated" in message


@pytest.mark.parametrize("matrix", [";", ";;", ";provider=", ";provider", ";=x", ";driver=;x"])
def test_empty_matrix_parameter_is_ignored(client, matrix):
    response = client.get(f"/api{matrix}", status=200)
    assert "X-Deltacloud-Provider" not in response.headers
    assert read_xml(response).get("provider") is None


@pytest.mark.parametrize(
    "address",
    [
        f"{SNAPSHOTS};provider=eu-west-1",
        f"{SNAPSHOTS};x=y",
        f"{SNAPSHOTS};",
        f"{SNAPSHOTS};driver=mock;provider=mars-1",
    ],
)
def test_matrix_parameters_after_the_first_segment_are_ignored(client, snapshot_in, address):
    here, there = snapshot_in("us-east-1"), snapshot_in("eu-west-1")
    response = client.get(f"/api{address}")
    assert here in read_xml(response).xpath("*/@id")
    assert there not in read_xml(response).xpath("*/@id")
    assert "X-Deltacloud-Provider" not in response.headers


def test_links_keep_the_provider_of_the_first_segment_only(client, snapshot_in):
    id = snapshot_in("eu-west-1")
    base = "http://localhost:3001/api;provider=eu-west-1"
    shown = read_xml(client.get(f"{base}{SNAPSHOTS};x=y/{id};driver=mock"))
    assert shown.get("href") == f"{base}{SNAPSHOTS}/{id}"
    assert client.get("/api/realms;x=y", status=200)


@pytest.mark.parametrize("where", ["query", "urlencoded", "multipart"])
def test_create_selects_its_region_by_parameters(client, regional_ec2, where):
    ec2 = regional_ec2("eu-west-1")
    volume_id = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=1)["VolumeId"]
    given = {"api[driver]": "ec2", "api[provider]": "eu-west-1", "volume_id": volume_id}
    if where == "query":
        response = client.post(f"/api{SNAPSHOTS}?{urlencode(given)}")
    else:
        files = [("file", "", b"")] if where == "multipart" else None
        response = client.post(f"/api{SNAPSHOTS}", given, upload_files=files)
    assert response.status_int == 201
    assert response.headers["X-Deltacloud-Provider"] == "eu-west-1"
    [made] = ec2.describe_snapshots(SnapshotIds=[read_xml(response).get("id")])["Snapshots"]
    assert made["VolumeId"] == volume_id


@pytest.mark.parametrize(
    ("method", "headers"), [("POST", {"X-HTTP-Method-Override": "DELETE"}), ("DELETE", {})]
)
def test_delete_selects_its_region_by_a_form(client, snapshot_in, method, headers):
    id = snapshot_in("eu-west-1")
    response = client.request(
        f"/api{SNAPSHOTS}/{id}",
        method=method,
        body=b"api[driver]=ec2&api[provider]=eu-west-1",
        headers=headers | {"Content-Type": "application/x-www-form-urlencoded"},
        status=204,
    )
    assert response.headers["X-Deltacloud-Provider"] == "eu-west-1"


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?api[provider]=mars-1", {}),
        ("?api[driver]=mock", {}),
        ("?api[driver]=mock&api[provider]=eu-west-1", {}),
        ("?api[provider]=ec2.example.org", {}),
        ("?api[provider]=mars-1", {"X-Deltacloud-Provider": "eu-west-1"}),
        ("", {"X-Deltacloud-Driver": "MOCK"}),
    ],
)
def test_unknown_name_of_the_deciding_source_is_400(
    programmed_client, programmed_ec2, query, headers
):
    programmed_client.get(f"/api{SNAPSHOTS}{query}", headers=headers, status=400)
    assert programmed_ec2.requests == []


def test_unknown_name_in_a_form_is_400(programmed_client, programmed_ec2):
    for given in ({"api[provider]": "mars-1"}, {"api[driver]": "mock"}):
        form = {"volume_id": "vol-12345678"} | given
        programmed_client.post(f"/api{SNAPSHOTS}", form, status=400)
    assert programmed_ec2.requests == []


def test_form_takes_precedence_over_the_query(client, regional_ec2):
    ec2 = regional_ec2("eu-west-1")
    volume_id = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=1)["VolumeId"]
    form = {"volume_id": volume_id, "api[provider]": "eu-west-1"}
    response = client.post(f"/api{SNAPSHOTS}?api[provider]=us-west-2", form, status=201)
    assert response.headers["X-Deltacloud-Provider"] == "eu-west-1"


HOSTS_OF_AWS = [
    ("ec2.eu-west-1.amazonaws.com", "eu-west-1"),
    ("EC2.EU-West-1.Amazonaws.com", "eu-west-1"),
    ("ec2.cn-north-1.amazonaws.com.cn", "cn-north-1"),
]


@pytest.mark.parametrize(("host", "region"), HOSTS_OF_AWS)
def test_host_of_an_endpoint_names_its_region(host, region):
    client = client_of(shared_application(), caller=None)
    for address, headers in (
        (f"/api;provider={host}", {}),
        ("/api", {"X-Deltacloud-Provider": host}),
        (f"/api?api[provider]={host}", {}),
    ):
        response = client.get(address, headers=headers)
        assert response.headers["X-Deltacloud-Provider"] == region
        assert read_xml(response).get("provider") == region


@pytest.mark.parametrize(
    "host",
    [
        "ec2.eu-west-1.amazonaws.com.evil.example.org",
        "evil.example.org",
        "ec2.cn-north-1.amazonaws.com",
        "ec2.eu-west-1.amazonaws.com:443",
        "https://ec2.eu-west-1.amazonaws.com",
        "ec2.amazonaws.com",
    ],
)
def test_host_that_is_no_endpoint_is_400(host):
    client = client_of(shared_application(), caller=None)
    response = client.get("/api", headers={"X-Deltacloud-Provider": host}, status=400)
    assert repr(host) in read_xml(response).findtext("message")


def test_host_names_no_region_where_all_share_one_endpoint(programmed_client, programmed_ec2):
    for host in ("ec2.eu-west-1.amazonaws.com", programmed_ec2.url.removeprefix("http://")):
        headers = {"X-Deltacloud-Provider": host}
        programmed_client.get(f"/api{SNAPSHOTS}", headers=headers, status=400)
    assert programmed_ec2.requests == []


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "/nope", 404),
        ("PUT", SNAPSHOTS, 405),
        ("OPTIONS", SNAPSHOTS, 200),
        ("GET", f"{SNAPSHOTS}?format=yaml", 406),
        ("GET", f"{SNAPSHOTS}/snap-00000000", 404),
    ],
)
def test_every_response_names_the_provider(client, method, address, status):
    response = client.request(f"/api;provider=eu-west-1{address}", method=method, status=status)
    assert response.headers["X-Deltacloud-Provider"] == "eu-west-1"
    if response.headers.get("Content-Type") == "application/xml":
        assert response.lxml.find("backend").get("provider") == "eu-west-1"
