"""The provider of a request is its EC2 region, and links stay in that region."""

import pytest

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


def test_matrix_parameters_after_the_first_segment_are_404(client):
    client.get("/api/storage_snapshots;provider=eu-west-1", status=404)


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
