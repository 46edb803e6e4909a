"""Volumes, realms and drivers in XML and JSON, as they are read."""

import pytest

from tests.support.application import client_of, shared_application
from tests.support.documents import read_xml
from tests.support.ec2_responses import error_response, xml_response
from tests.support.responders import always

ATTACHED = (
    "<item><volumeId>vol-1a2b3c4d</volumeId><size>80</size><snapshotId/>"
    "<availabilityZone>us-east-1b</availabilityZone><status>in-use</status>"
    "<createTime>2011-07-28T21:54:19.000Z</createTime><attachmentSet><item>"
    "<volumeId>vol-1a2b3c4d</volumeId><instanceId>i-1a2b3c4d</instanceId>"
    "<device>/dev/sdf</device><status>attached</status></item></attachmentSet>"
    "<tagSet><item><key>Name</key><value>data &amp; logs</value></item></tagSet></item>"
)


DETACH = "http://localhost:3001/api/storage_volumes/vol-1a2b3c4d/detach"


def volumes(items):
    return xml_response("DescribeVolumesResponse", f"<volumeSet>{items}</volumeSet>")


def zones(**states):
    items = "".join(
        f"<item><zoneName>us-east-1{letter}</zoneName><zoneState>{state}</zoneState></item>"
        for letter, state in states.items()
    )
    return xml_response(
        "DescribeAvailabilityZonesResponse", f"<availabilityZoneInfo>{items}</availabilityZoneInfo>"
    )


def test_volume_in_xml(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(volumes(ATTACHED))
    volume = read_xml(programmed_client.get("/api/storage_volumes/vol-1a2b3c4d"))
    base = "http://localhost:3001/api"
    assert [(e.tag, dict(e.attrib), e.text and e.text.strip()) for e in volume.iter()] == [
        (
            "storage_volume",
            {"href": f"{base}/storage_volumes/vol-1a2b3c4d", "id": "vol-1a2b3c4d"},
            "",
        ),
        ("created", {}, "Thu Jul 28 21:54:19 UTC 2011"),
        ("capacity", {"unit": "GB"}, "80"),
        ("name", {}, "data & logs"),
        ("device", {}, "/dev/sdf"),
        ("realm", {"href": f"{base}/realms/us-east-1b", "id": "us-east-1b"}, None),
        ("realm_id", {}, "us-east-1b"),
        ("state", {}, "IN-USE"),
        ("mount", {}, None),
        ("instance", {"id": "i-1a2b3c4d"}, None),
        ("device", {"name": "/dev/sdf"}, None),
        ("actions", {}, ""),
        ("link", {"rel": "detach", "method": "post", "href": DETACH}, None),
    ]
    # The Ruby gem 1.1.3 reads the first of them.
    assert next(volume.iter("device")).text == "/dev/sdf"


def test_volume_in_json(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(volumes(ATTACHED))
    response = programmed_client.get("/api/storage_volumes/vol-1a2b3c4d?format=json")
    base = "http://localhost:3001/api"
    assert response.json == {
        "storage_volume": {
            "id": "vol-1a2b3c4d",
            "href": f"{base}/storage_volumes/vol-1a2b3c4d",
            "name": "data & logs",
            "description": None,
            "state": "IN-USE",
            "created": "Thu Jul 28 21:54:19 UTC 2011",
            "capacity": 80,
            "kind": None,
            "device": "/dev/sdf",
            "realm": {"id": "us-east-1b", "href": f"{base}/realms/us-east-1b", "rel": "realm"},
            "instance": {"id": "i-1a2b3c4d"},
            "actions": [{"rel": "detach", "method": "post", "href": DETACH}],
        }
    }


def test_unattached_volume_has_no_mount(client, volume_id):
    volume = read_xml(client.get(f"/api/storage_volumes/{volume_id}"))
    assert volume.find("mount") is None
    assert volume.find("device") is None
    assert volume.xpath("actions/link/@rel") == ["attach", "destroy"]
    assert volume.findtext("state") == "AVAILABLE"
    assert volume.findtext("name") == volume_id
    response = client.get(f"/api/storage_volumes/{volume_id}?format=json")
    assert response.json["storage_volume"]["instance"] == {}


def test_volumes_are_listed_and_filtered_by_id(client, volume_id):
    root = read_xml(client.get("/api/storage_volumes"))
    assert root.tag == "storage_volumes"
    assert volume_id in root.xpath("storage_volume/@id")
    one = read_xml(client.get(f"/api/storage_volumes?id={volume_id}"))
    assert one.xpath("*/@id") == [volume_id]
    assert len(read_xml(client.get("/api/storage_volumes?id=vol-00000000"))) == 0


@pytest.mark.parametrize("id", ["vol-ffffffff", "vol-00000000", "foo", "snap-12345678", "%3Cx%3E"])
def test_unknown_volume_is_404(client, id):
    assert read_xml(client.get(f"/api/storage_volumes/{id}", status=404)).findtext("code") == "404"


def test_volume_list_reads_every_page(programmed_client, programmed_ec2):
    def respond(request):
        more = "" if "NextToken" in request.parameters else "<nextToken>more</nextToken>"
        return xml_response("DescribeVolumesResponse", f"<volumeSet>{ATTACHED}</volumeSet>{more}")

    programmed_ec2.respond = respond
    assert len(read_xml(programmed_client.get("/api/storage_volumes"))) == 2


def test_realms_are_availability_zones(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(zones(a="available", b="impaired"))
    first, second = read_xml(programmed_client.get("/api/realms"))
    assert dict(first.attrib) == {
        "href": "http://localhost:3001/api/realms/us-east-1a",
        "id": "us-east-1a",
    }
    assert [(e.tag, e.text) for e in first] == [("name", "us-east-1a"), ("state", "available")]
    assert [(e.tag, e.text) for e in second] == [
        ("name", "us-east-1b"),
        ("state", "impaired"),
        ("limit", "0"),
    ]


def test_realms_in_json(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(zones(a="available", b="impaired"))
    realms = programmed_client.get("/api/realms?format=json").json["realms"]
    assert [(realm["id"], realm["state"], realm["limit"]) for realm in realms] == [
        ("us-east-1a", "available", "unlimited"),
        ("us-east-1b", "impaired", 0),
    ]


def test_realm_is_shown_and_filtered_by_id(client):
    realm = read_xml(client.get("/api/realms/us-east-1a"))
    assert (realm.tag, realm.findtext("name")) == ("realm", "us-east-1a")
    assert client.get("/api/realms/us-east-1a?format=json").json["realm"]["id"] == "us-east-1a"
    assert read_xml(client.get("/api/realms?id=us-east-1a")).xpath("*/@id") == ["us-east-1a"]
    assert len(read_xml(client.get("/api/realms?id=mars-1a"))) == 0


def test_link_of_a_realm_whose_name_has_a_slash_resolves(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(zones(**{"/a": "available"}))
    [href] = read_xml(programmed_client.get("/api/realms")).xpath("*/@href")
    assert href == "http://localhost:3001/api/realms/us-east-1%2Fa"
    assert read_xml(programmed_client.get(href)).get("id") == "us-east-1/a"


@pytest.mark.parametrize("id", ["mars-1a", "us-east-1", "%3Cscript%3E", "a" * 3000])
def test_unknown_realm_is_404(client, id):
    client.get(f"/api/realms/{id}", status=404)


@pytest.mark.parametrize("address", ["/api/realms", "/api/storage_volumes"])
def test_collections_of_ec2_need_credentials(anonymous_client, address):
    anonymous_client.get(address, status=401)


def test_denied_collection_is_502_with_the_ec2_code(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(error_response("UnauthorizedOperation", 403))
    for address in ("/api/realms", "/api/storage_volumes"):
        message = read_xml(programmed_client.get(address, status=502)).findtext("message")
        assert message.startswith("UnauthorizedOperation: EC2 says no.")


def test_drivers_need_no_credentials_and_list_the_providers():
    anonymous_client = client_of(shared_application(), caller=None)
    [driver] = read_xml(anonymous_client.get("/api/drivers"))
    assert driver.get("href") == "http://localhost:3001/api/drivers/ec2"
    assert driver.findtext("name") == "EC2"
    providers = driver.xpath("provider/@id")
    for region in ("us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1"):
        assert region in providers


def test_driver_contains_the_entry_points():
    anonymous_client = client_of(shared_application(), caller=None)
    driver = read_xml(anonymous_client.get("/api/drivers/ec2"))
    hosts = {
        provider.get("id"): provider.findtext("entrypoint[@kind='ec2']")
        for provider in driver.findall("provider")
    }
    assert hosts["us-east-1"] == "ec2.us-east-1.amazonaws.com"
    assert hosts["cn-north-1"] == "ec2.cn-north-1.amazonaws.com.cn"
    assert anonymous_client.get("/api/drivers/ec2?format=json").json == {
        "driver": {"id": "ec2", "name": "EC2", "entrypoints": {"ec2": hosts}}
    }
    assert anonymous_client.get("/api/drivers?format=json").json == {
        "ec2": {"name": "EC2", "entrypoints": {"ec2": hosts}}
    }


def test_configured_regions_are_providers(client_with, programmed_ec2):
    client = client_with(regions=("RegionOne",))
    driver = read_xml(client.get("/api/drivers/ec2"))
    host = driver.findtext("provider[@id='RegionOne']/entrypoint")
    assert host == programmed_ec2.url.removeprefix("http://")
    client.get("/api;provider=RegionOne/storage_snapshots", status=200)


def test_unknown_driver_is_404_and_absent_from_lists(anonymous_client):
    anonymous_client.get("/api/drivers/mock", status=404)
    assert len(read_xml(anonymous_client.get("/api/drivers?id=mock"))) == 0
    assert len(read_xml(anonymous_client.get("/api/drivers?id=ec2"))) == 1
    assert anonymous_client.get("/api/drivers?id=mock&format=json").json == {}


def test_entry_point_links_every_collection(anonymous_client):
    assert read_xml(anonymous_client.get("/api")).xpath("link/@rel") == [
        "drivers",
        "realms",
        "storage_snapshots",
        "storage_volumes",
    ]
