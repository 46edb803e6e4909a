"""Responses of EC2-compatible clouds, written from their source; no such cloud was run.

OpenStack: ``ec2api/api`` of openstack/ec2-api (``_format_snapshot``, ``dict_to_xml``).
Eucalyptus: the bindings in ``clc/modules/compute-common`` of eucalyptus/eucalyptus.
OpenNebula: the views in ``src/cloud/ec2/lib/views`` of OpenNebula/one.
"""

import pytest

from tests.support.documents import read_xml
from tests.support.ec2_responses import EC2Response

OPENSTACK = {
    # created_at of Cinder has microseconds and no time zone; None is an empty element.
    "DescribeSnapshots": b"""<DescribeSnapshotsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>req-0f5a3f10-9c0e-4f1c-9a53-b4c5a7bd0b5c</requestId>
  <snapshotSet>
    <item>
      <snapshotId>snap-6d1a8c22</snapshotId>
      <volumeId>vol-0c9b1f3e</volumeId>
      <status>completed</status>
      <startTime>2014-03-05T10:11:12.000000</startTime>
      <progress>100%</progress>
      <ownerId>b2a1c0d4e5f647a8b9c0d1e2f3a4b5c6</ownerId>
      <volumeSize>1</volumeSize>
      <description>nightly</description>
      <tagSet><item><key>Name</key><value>db</value></item></tagSet>
    </item>
    <item>
      <snapshotId>snap-7e2b9d33</snapshotId>
      <volumeId/>
      <status>error_deleting</status>
      <startTime>2014-03-05T10:11:12.000000</startTime>
      <progress>0%</progress>
      <ownerId>b2a1c0d4e5f647a8b9c0d1e2f3a4b5c6</ownerId>
      <volumeSize>1</volumeSize>
      <description/>
    </item>
  </snapshotSet>
</DescribeSnapshotsResponse>
""",
    "DescribeVolumes": b"""<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>req-0f5a3f10-9c0e-4f1c-9a53-b4c5a7bd0b5d</requestId>
  <volumeSet>
    <item>
      <volumeId>vol-0c9b1f3e</volumeId>
      <status>in-use</status>
      <size>1</size>
      <availabilityZone>nova</availabilityZone>
      <createTime>2014-03-05T10:11:12.000000</createTime>
      <volumeType/>
      <encrypted>false</encrypted>
      <attachmentSet>
        <item>
          <device>/dev/vdb</device>
          <instanceId>i-5a4b3c2d</instanceId>
          <status>attached</status>
          <volumeId>vol-0c9b1f3e</volumeId>
          <deleteOnTermination>false</deleteOnTermination>
        </item>
      </attachmentSet>
      <snapshotId/>
    </item>
  </volumeSet>
</DescribeVolumesResponse>
""",
    # Names of Nova's zones are free text.
    "DescribeAvailabilityZones": b"""<DescribeAvailabilityZonesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>req-0f5a3f10-9c0e-4f1c-9a53-b4c5a7bd0b5e</requestId>
  <availabilityZoneInfo>
    <item>
      <zoneName>AZ_1.north east</zoneName>
      <zoneState>available</zoneState>
    </item>
  </availabilityZoneInfo>
</DescribeAvailabilityZonesResponse>
""",
    "CreateSnapshot": b"""<CreateSnapshotResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>req-0f5a3f10-9c0e-4f1c-9a53-b4c5a7bd0b5f</requestId>
  <snapshotId>snap-6d1a8c22</snapshotId>
  <volumeId>vol-0c9b1f3e</volumeId>
  <status>pending</status>
  <startTime>2014-03-05T10:11:12.000000</startTime>
  <progress>0%</progress>
  <ownerId>b2a1c0d4e5f647a8b9c0d1e2f3a4b5c6</ownerId>
  <volumeSize>1</volumeSize>
  <description/>
</CreateSnapshotResponse>
""",
    "DeleteSnapshot": b"""<DeleteSnapshotResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>req-0f5a3f10-9c0e-4f1c-9a53-b4c5a7bd0b60</requestId>
  <return>true</return>
</DeleteSnapshotResponse>
""",
}

EUCALYPTUS = {
    "DescribeSnapshots": b"""<?xml version="1.0" encoding="UTF-8"?>
<DescribeSnapshotsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>\
5b5d6c1c-27d2-4f2c-8c1c-0f4a3b2c1d0e</requestId><snapshotSet><item><snapshotId>snap-4c6f3a2b\
</snapshotId><volumeId>vol-9d8c7b6a</volumeId><status>failed</status><startTime>\
2014-03-05T10:11:12.345Z</startTime><progress></progress><ownerId>000123456789</ownerId>\
<volumeSize>n/a</volumeSize></item></snapshotSet></DescribeSnapshotsResponse>""",
    "DescribeVolumes": b"""<?xml version="1.0" encoding="UTF-8"?>
<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>\
5b5d6c1c-27d2-4f2c-8c1c-0f4a3b2c1d0f</requestId><volumeSet><item><volumeId>vol-9d8c7b6a</volumeId>\
<availabilityZone>one</availabilityZone><status>deleted</status><createTime>\
2014-03-05T10:11:12Z</createTime><attachmentSet/><volumeType>standard</volumeType></item>\
</volumeSet></DescribeVolumesResponse>""",
    # The names of clusters are the zones.
    "DescribeAvailabilityZones": b"""<?xml version="1.0" encoding="UTF-8"?>
<DescribeAvailabilityZonesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>\
5b5d6c1c-27d2-4f2c-8c1c-0f4a3b2c1d10</requestId><availabilityZoneInfo><item><zoneName>one\
</zoneName><zoneState>192.168.51.1 arn:euca:eucalyptus:one:cluster:one_cc/</zoneState><regionName>\
eucalyptus</regionName></item></availabilityZoneInfo></DescribeAvailabilityZonesResponse>""",
    "CreateSnapshot": b"""<?xml version="1.0" encoding="UTF-8"?>
<CreateSnapshotResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>\
5b5d6c1c-27d2-4f2c-8c1c-0f4a3b2c1d11</requestId><snapshotId>snap-4c6f3a2b</snapshotId><volumeId>\
vol-9d8c7b6a</volumeId><status>pending</status><startTime>2014-03-05T10:11:12Z</startTime>\
<progress>0%</progress><ownerId>000123456789</ownerId><volumeSize>n/a</volumeSize>\
</CreateSnapshotResponse>""",
    "DeleteSnapshot": b"""<?xml version="1.0" encoding="UTF-8"?>
<DeleteSnapshotResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>\
5b5d6c1c-27d2-4f2c-8c1c-0f4a3b2c1d12</requestId><return>true</return></DeleteSnapshotResponse>""",
}

OPENNEBULA = {
    # The server removes line ends; times are local, with an offset.
    "DescribeSnapshots": b"""<DescribeSnapshotsResponse xmlns="http://ec2.amazonaws.com/doc/2013-06-15/">\
<requestId>7c0f6e2e</requestId><snapshotSet><item><snapshotId>snap-00000007</snapshotId>\
<volumeId></volumeId><status>available</status><startTime>2014-03-05T11:11:12+01:00</startTime>\
<progress>100%</progress><ownerId>oneadmin</ownerId><volumeSize>1</volumeSize><description>\
ec2-8d1bd2d0</description><tagSet></tagSet></item></snapshotSet></DescribeSnapshotsResponse>""",
    "DescribeVolumes": b"""<?xml version="1.0"?>\
<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId/><volumeSet>\
<item><volumeId>vol-00000003</volumeId><size>1</size><snapshotId/><availabilityZone/><status>in-use\
</status><createTime>2014-03-05T11:11:12+01:00</createTime><attachmentSet><item><volumeId>\
vol-00000003</volumeId><instanceId>i-00000001</instanceId><device>/dev/vdb</device><status>attached\
</status><attachTime>2014-03-05T11:11:12+01:00</attachTime><deleteOnTermination>false\
</deleteOnTermination></item></attachmentSet><tagSet/></item></volumeSet>\
</DescribeVolumesResponse>""",
    "DescribeAvailabilityZones": b"""<?xml version="1.0"?>\
<DescribeAvailabilityZonesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15"><requestId>\
7c0f6e2e</requestId><availabilityZoneInfo><item><zoneName>opennebula</zoneName><zoneState>available\
</zoneState><regionName>opennebula</regionName><messageSet/></item></availabilityZoneInfo>\
</DescribeAvailabilityZonesResponse>""",
    "CreateSnapshot": b"""<CreateSnapshotResponse xmlns="http://ec2.amazonaws.com/doc/2013-06-15/">\
<requestId>7c0f6e2e</requestId><snapshotId>snap-00000007</snapshotId><volumeId>vol-00000003\
</volumeId><status>pending</status><startTime>2014-03-05T11:11:12+01:00</startTime><progress>100%\
</progress><ownerId>oneadmin</ownerId><volumeSize>1</volumeSize><description>ec2-8d1bd2d0\
</description></CreateSnapshotResponse>""",
    "DeleteSnapshot": b"""<DeleteSnapshotResponse xmlns="http://ec2.amazonaws.com/doc/2013-06-15/">\
<requestId>7c0f6e2e</requestId><return>true</return></DeleteSnapshotResponse>""",
}

CLOUDS = {"openstack": OPENSTACK, "eucalyptus": EUCALYPTUS, "opennebula": OPENNEBULA}
CREATED = "Wed Mar 05 10:11:12 UTC 2014"


@pytest.fixture(params=CLOUDS)
def cloud(request):
    return request.param


@pytest.fixture
def client(cloud, client_with, programmed_ec2):
    """Make a client in front of a cloud, with the options that docs/migration.md names."""
    programmed_ec2.respond = lambda request: EC2Response(CLOUDS[cloud][request.action])
    return client_with(create_tag=False, regions=("RegionOne",), provider="RegionOne")


def test_login(client):
    client.get("/api?force_auth=1", status=200)


@pytest.mark.parametrize("format", ["xml", "json", "html"])
@pytest.mark.parametrize("collection", ["storage_snapshots", "storage_volumes", "realms"])
def test_lists_are_readable_in_each_format(client, collection, format):
    client.get(f"/api/{collection}?format={format}", status=200)


def test_snapshots(client, cloud):
    snapshots = read_xml(client.get("/api/storage_snapshots"))
    expected = {
        "openstack": [
            ("snap-6d1a8c22", "db", "completed", "vol-0c9b1f3e"),
            ("snap-7e2b9d33", "snap-7e2b9d33", "error_deleting", None),
        ],
        "eucalyptus": [("snap-4c6f3a2b", "snap-4c6f3a2b", "failed", "vol-9d8c7b6a")],
        "opennebula": [("snap-00000007", "snap-00000007", "available", None)],
    }
    assert [
        (
            snapshot.get("id"),
            snapshot.findtext("name"),
            snapshot.findtext("state"),
            None if snapshot.find("storage_volume") is None else snapshot[-1].get("id"),
        )
        for snapshot in snapshots
    ] == expected[cloud]
    assert {snapshot.findtext("created") for snapshot in snapshots} == {CREATED}


def test_volumes(client, cloud):
    [volume] = read_xml(client.get("/api/storage_volumes"))
    expected = {
        "openstack": ("1", "nova", "IN-USE", "i-5a4b3c2d"),
        "eucalyptus": (None, "one", "DELETED", None),
        "opennebula": ("1", None, "IN-USE", "i-00000001"),
    }
    instances = [*volume.xpath("mount/instance/@id"), None]
    texts = [volume.findtext(name) for name in ("capacity", "realm_id", "state")]
    assert (*texts, instances[0]) == expected[cloud]
    assert volume.findtext("created") == CREATED


def test_realms(client, cloud):
    [realm] = read_xml(client.get("/api/realms"))
    expected = {
        "openstack": ("AZ_1.north east", None),
        "eucalyptus": ("one", "0"),
        "opennebula": ("opennebula", None),
    }
    assert (realm.get("id"), realm.findtext("limit")) == expected[cloud]
    assert read_xml(client.get(realm.get("href"))).get("id") == realm.get("id")


def test_create_and_delete(client, programmed_ec2):
    response = client.post("/api/storage_snapshots", {"volume_id": "vol-00000003"}, status=201)
    assert read_xml(response).findtext("state") == "pending"
    client.delete(response.headers["Location"], status=204)
    create, delete = programmed_ec2.requests
    assert create.parameters == {"Version": "2016-11-15", "VolumeId": "vol-00000003"}
    assert set(delete.parameters) == {"Version", "SnapshotId"}
