"""Records that differ from those of AWS are written with what they have."""

from urllib.parse import urljoin

import pytest

from tests.support.documents import read_xml
from tests.support.ec2_responses import snapshot_item, snapshots_page, xml_response
from tests.support.responders import always

SNAPSHOTS = "/api/storage_snapshots"
ODD_ID = "snap 1/'\"<&>\N{SNOWMAN}"
ODD_ID_IN_XML = "snap 1/'\"&lt;&amp;&gt;\N{SNOWMAN}"
ODD_PATH = "snap%201%2F%27%22%3C%26%3E%E2%98%83"


def zones(*items):
    inner = "".join(f"<item>{item}</item>" for item in items)
    return xml_response(
        "DescribeAvailabilityZonesResponse", f"<availabilityZoneInfo>{inner}</availabilityZoneInfo>"
    )


def volumes(*items):
    inner = "".join(f"<item>{item}</item>" for item in items)
    return xml_response("DescribeVolumesResponse", f"<volumeSet>{inner}</volumeSet>")


def hrefs(response):
    """Give the hrefs of a page in HTML."""
    return [link["href"] for link in response.html.select("tbody a")]


def test_one_odd_snapshot_leaves_the_others_in_the_list(programmed_client, programmed_ec2):
    odd = snapshot_item(ODD_ID_IN_XML, ODD_ID_IN_XML, "yesterday", "In &lt;Progress&gt;_1.0")
    items = snapshot_item("snap-11111111") + odd + snapshot_item("snap-22222222")
    programmed_ec2.respond = always(snapshots_page(items))
    first, second, third = read_xml(programmed_client.get(SNAPSHOTS))
    assert (first.get("id"), third.get("id")) == ("snap-11111111", "snap-22222222")
    assert second.get("id") == second.findtext("name") == ODD_ID
    assert second.get("href").endswith(f"/storage_snapshots/{ODD_PATH}")
    assert second.findtext("state") == "In <Progress>_1.0"
    assert second.find("created") is None
    assert second.find("storage_volume").get("id") == ODD_ID
    assert second.find("storage_volume").get("href").endswith(f"/storage_volumes/{ODD_PATH}")
    _, value, _ = programmed_client.get(f"{SNAPSHOTS}?format=json").json["storage_snapshots"]
    assert (value["id"], value["created"], value["state"]) == (ODD_ID, None, "In <Progress>_1.0")
    assert value["href"].endswith(f"/storage_snapshots/{ODD_PATH}")
    assert value["storage_volume"]["href"].endswith(f"/storage_volumes/{ODD_PATH}")
    in_html = hrefs(programmed_client.get(f"{SNAPSHOTS}?format=html"))
    assert [href.rpartition("/")[2] for href in in_html[2:4]] == [ODD_PATH, ODD_PATH]


@pytest.mark.parametrize(
    ("time", "created"),
    [
        ("2014-03-05T10:11:12+01:00", "Wed Mar 05 09:11:12 UTC 2014"),
        ("2014-03-05T10:11:12", "Wed Mar 05 10:11:12 UTC 2014"),
        ("2014-03-05T10:11:12.123456", "Wed Mar 05 10:11:12 UTC 2014"),
        ("Wed, 05 Mar 2014 10:11:12 GMT", "Wed Mar 05 10:11:12 UTC 2014"),
        ("2011-02-30T00:00:00Z", None),
        ("2011-02-28T24:61:00Z", None),
    ],
)
def test_time_of_a_snapshot_is_written_in_utc(programmed_client, programmed_ec2, time, created):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-11111111", "", time)))
    shown = read_xml(programmed_client.get(f"{SNAPSHOTS}/snap-11111111"))
    assert shown.findtext("created") == created


def test_volume_without_size_zone_and_time(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(volumes("<volumeId>vol-11111111</volumeId><size>n/a</size>"))
    address = "/api/storage_volumes/vol-11111111"
    volume = read_xml(programmed_client.get(address))
    assert [element.tag for element in volume] == ["name", "state", "actions"]
    value = programmed_client.get(f"{address}?format=json").json["storage_volume"]
    assert (value["capacity"], value["realm"], value["created"]) == (None, None, None)
    page = programmed_client.get(f"{address}?format=html")
    assert [term.text for term in page.html.select("dt")] == ["Name", "Created", "State"]
    page = programmed_client.get("/api/storage_volumes?format=html")
    row = page.html.select("tbody:not(.loading) td")
    assert [cell.text for cell in row] == ["vol-11111111", "", "", "", ""]


def test_volume_with_odd_texts_in_each_format(programmed_client, programmed_ec2):
    item = (
        f"<volumeId>{ODD_ID_IN_XML}</volumeId><availabilityZone>{ODD_ID_IN_XML}</availabilityZone>"
        f"<status>a &lt;b&gt;</status><size>8</size><attachmentSet><item><instanceId>"
        f"{ODD_ID_IN_XML}</instanceId><device>x&#9;&#10;</device></item></attachmentSet>"
    )
    programmed_ec2.respond = always(volumes(item))
    [volume] = read_xml(programmed_client.get("/api/storage_volumes"))
    assert volume.get("id") == volume.findtext("realm_id") == volume.find("realm").get("id")
    assert volume.get("id") == volume.find("mount/instance").get("id") == ODD_ID
    assert volume.find("realm").get("href").endswith(f"/realms/{ODD_PATH}")
    assert volume.findtext("state") == "A <B>"
    assert volume.find("mount/device").get("name") == "x\t\n"
    in_html = hrefs(programmed_client.get("/api/storage_volumes?format=html"))
    assert [href.rpartition("/")[2] for href in in_html] == [ODD_PATH, ODD_PATH]


def test_zone_with_an_odd_name_has_a_link_that_leads_to_it(programmed_client, programmed_ec2):
    item = "<zoneName>Zone_1.a &lt;b&gt;</zoneName><zoneState>Up &amp; running</zoneState>"
    programmed_ec2.respond = always(zones(item))
    [realm] = read_xml(programmed_client.get("/api/realms"))
    assert realm.get("id") == realm.findtext("name") == "Zone_1.a <b>"
    assert realm.findtext("state") == "Up & running"
    assert read_xml(programmed_client.get(realm.get("href"))).get("id") == "Zone_1.a <b>"
    [value] = programmed_client.get("/api/realms?format=json").json["realms"]
    assert value["href"] == realm.get("href")
    page = programmed_client.get("/api/realms?format=html")
    assert [urljoin(page.request.url, href) for href in hrefs(page)] == [realm.get("href")]


def test_login_needs_only_a_response_of_ec2(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(zones("<zoneState>?</zoneState>"))
    programmed_client.get("/api?force_auth=1", status=200)
    message = read_xml(programmed_client.get("/api/realms", status=502)).findtext("message")
    assert "a zone has no id" in message
    programmed_ec2.respond = always(snapshots_page(""))
    programmed_client.get("/api?force_auth=1", status=502)
