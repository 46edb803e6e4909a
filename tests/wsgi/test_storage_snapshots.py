"""The four operations of the API page, in front of moto."""

import locale
import re
from urllib.parse import urlencode

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.documents import read_xml

CREATED = re.compile(
    r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d\d \d\d:\d\d:\d\d UTC \d{4}"
)


def test_list_contains_href_time_state_and_volume_of_each_snapshot(client, snapshot_id, volume_id):
    root = read_xml(client.get(SNAPSHOTS))
    [snapshot] = root.xpath(f"/storage_snapshots/storage_snapshot[@id='{snapshot_id}']")
    assert snapshot.get("href") == f"http://localhost:3001{SNAPSHOTS}/{snapshot_id}"
    assert CREATED.fullmatch(snapshot.findtext("created"))
    assert snapshot.findtext("state") in {"pending", "completed"}
    volume = snapshot.find("storage_volume")
    assert volume.get("id") == volume_id
    assert volume.get("href") == f"http://localhost:3001/api/storage_volumes/{volume_id}"


def test_lists_in_json_and_xml_have_the_same_content(client, snapshot_id):
    of_xml = read_xml(client.get(SNAPSHOTS))
    of_json = client.get(f"{SNAPSHOTS}?format=json").json["storage_snapshots"]
    assert [
        (
            snapshot.get("id"),
            snapshot.get("href"),
            snapshot.findtext("name"),
            snapshot.findtext("description"),
            snapshot.findtext("state"),
            snapshot.findtext("created"),
            dict(snapshot.find("storage_volume").attrib),
        )
        for snapshot in of_xml
    ] == [
        (
            snapshot["id"],
            snapshot["href"],
            snapshot["name"],
            snapshot["description"],
            snapshot["state"],
            snapshot["created"],
            {key: snapshot["storage_volume"][key] for key in ("href", "id")},
        )
        for snapshot in of_json
    ]


def test_list_filtered_by_id_contains_only_that_snapshot(client, ec2, volume_id, snapshot_id):
    ec2.create_snapshot(VolumeId=volume_id)
    root = read_xml(client.get(f"{SNAPSHOTS}?id={snapshot_id}"))
    assert root.xpath("/storage_snapshots/storage_snapshot/@id") == [snapshot_id]


@pytest.mark.parametrize("id", ["snap-00000000", "snap-0123456789abcdef0", "foo", "%3Cscript%3E"])
def test_list_filtered_by_an_unknown_id_is_empty(client, id):
    root = read_xml(client.get(f"{SNAPSHOTS}?id={id}", status=200))
    assert root.tag == "storage_snapshots"
    assert len(root) == 0


def test_show_equals_the_entry_in_the_list(client, snapshot_id):
    shown = read_xml(client.get(f"{SNAPSHOTS}/{snapshot_id}"))
    [listed] = read_xml(client.get(f"{SNAPSHOTS}?id={snapshot_id}"))
    assert shown.tag == "storage_snapshot"
    assert dict(shown.attrib) == dict(listed.attrib)
    assert [(e.tag, e.text, dict(e.attrib)) for e in shown] == [
        (e.tag, e.text, dict(e.attrib)) for e in listed
    ]


def test_show_in_json(client, snapshot_id, volume_id):
    snapshot = client.get(f"{SNAPSHOTS}/{snapshot_id}?format=json").json["storage_snapshot"]
    assert set(snapshot) == {
        "id", "href", "name", "description", "state", "created", "storage_volume"
    }  # fmt: skip
    assert snapshot["id"] == snapshot["name"] == snapshot_id
    assert snapshot["storage_volume"] == {
        "id": volume_id,
        "href": f"http://localhost:3001/api/storage_volumes/{volume_id}",
        "rel": "storage_volume",
    }


def test_name_is_the_name_tag(client, ec2, snapshot_id):
    ec2.create_tags(
        Resources=[snapshot_id],
        Tags=[{"Key": "Other", "Value": "x"}, {"Key": "Name", "Value": "nächtlich <&>"}],
    )
    assert read_xml(client.get(f"{SNAPSHOTS}/{snapshot_id}")).findtext("name") == "nächtlich <&>"


def _by_urlencoded_body(client, address, parameters):
    return client.post(address, parameters, status=201)


def _by_multipart_body(client, address, parameters):
    content_type, body = client.encode_multipart(list(parameters.items()), [])
    headers = {"Content-Type": content_type}
    return client.request(address, method="POST", body=body, headers=headers, status=201)


def _by_query(client, address, parameters):
    return client.post(f"{address}&{urlencode(parameters)}", status=201)


@pytest.mark.parametrize("send", [_by_urlencoded_body, _by_multipart_body, _by_query])
def test_create_creates_a_snapshot_of_the_volume(client, ec2, volume_id, send):
    given = {"volume_id": volume_id, "name": "weekly", "description": "Größe & <Rest>"}
    id = read_xml(send(client, f"{SNAPSHOTS}?format=xml", given)).get("id")
    [made] = ec2.describe_snapshots(SnapshotIds=[id])["Snapshots"]
    assert made["VolumeId"] == volume_id
    assert made["Description"] == "Größe & <Rest>"
    assert {"Key": "Name", "Value": "weekly"} in made["Tags"]


@pytest.mark.parametrize("send", [_by_urlencoded_body, _by_multipart_body, _by_query])
def test_create_returns_the_snapshot_in_xml(client, volume_id, send):
    given = {"volume_id": volume_id, "name": "weekly", "description": "Größe & <Rest>"}
    response = send(client, f"{SNAPSHOTS}?format=xml", given)
    snapshot = read_xml(response)
    assert snapshot.findtext("name") == "weekly"
    assert snapshot.findtext("description") == "Größe & <Rest>"
    assert snapshot.find("storage_volume").get("id") == volume_id
    assert response.headers["Location"] == snapshot.get("href")
    assert read_xml(client.get(response.headers["Location"])).get("id") == snapshot.get("id")


@pytest.mark.parametrize("send", [_by_urlencoded_body, _by_multipart_body, _by_query])
def test_create_returns_the_snapshot_in_json(client, volume_id, send):
    given = {"volume_id": volume_id, "name": "weekly", "description": "Größe & <Rest>"}
    response = send(client, f"{SNAPSHOTS}?format=json", given)
    snapshot = response.json["storage_snapshot"]
    assert (snapshot["name"], snapshot["description"]) == ("weekly", "Größe & <Rest>")
    assert response.headers["Location"] == snapshot["href"]


def test_body_of_a_create_overrides_its_query(client, volume_id):
    response = client.post(f"{SNAPSHOTS}?volume_id=vol-00000000", {"volume_id": volume_id})
    assert read_xml(response).find("storage_volume").get("id") == volume_id


def test_create_of_an_unknown_volume_is_404(client):
    root = read_xml(client.post(SNAPSHOTS, {"volume_id": "vol-00000000"}, status=404))
    assert "InvalidVolume.NotFound" in root.findtext("message")


def test_delete_removes_the_snapshot_and_has_no_body(client, snapshot_id):
    response = client.delete(f"{SNAPSHOTS}/{snapshot_id}", status=204)
    assert response.body == b""
    assert "Content-Type" not in response.headers
    client.get(f"{SNAPSHOTS}/{snapshot_id}", status=404)


def test_delete_of_an_unknown_snapshot_is_404(client):
    client.delete(f"{SNAPSHOTS}/snap-00000000", status=404)


def test_post_with_method_delete_removes_the_snapshot(client, snapshot_id):
    client.post(f"{SNAPSHOTS}/{snapshot_id}", {"_method": "delete"}, status=204)
    client.get(f"{SNAPSHOTS}/{snapshot_id}", status=404)


def test_post_with_method_delete_in_html_redirects_to_the_list(client, snapshot_id):
    address = f"{SNAPSHOTS}/{snapshot_id}?format=html"
    response = client.post(address, {"_method": "delete"}, status=303)
    assert response.headers["Location"] == f"http://localhost:3001{SNAPSHOTS}"
    client.get(f"{SNAPSHOTS}/{snapshot_id}", status=404)


def test_post_to_a_snapshot_without_a_method_is_405(client, snapshot_id):
    response = client.post(f"{SNAPSHOTS}/{snapshot_id}", status=405)
    assert "DELETE" in response.headers["Allow"]


def test_timestamps_do_not_depend_on_the_locale(client, snapshot_id):
    names = [name for name in ("de_DE.utf8", "fr_FR.utf8", "C.utf8") if _has_locale(name)]
    before = locale.setlocale(locale.LC_TIME)
    try:
        locale.setlocale(locale.LC_TIME, names[0])
        created = read_xml(client.get(f"{SNAPSHOTS}/{snapshot_id}")).findtext("created")
    finally:
        locale.setlocale(locale.LC_TIME, before)
    assert CREATED.fullmatch(created)


def _has_locale(name):
    before = locale.setlocale(locale.LC_TIME)
    try:
        locale.setlocale(locale.LC_TIME, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_TIME, before)
    return True
