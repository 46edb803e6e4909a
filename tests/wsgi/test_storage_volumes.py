"""Volumes are created, attached, detached and deleted, in front of moto."""

from urllib.parse import urlencode

import pytest

from tests.support.addresses import BASE_URL
from tests.support.documents import read_xml

VOLUMES = "/api/storage_volumes"
HTML = {"Accept": "text/html"}
GIVEN = {
    "capacity": "12",
    "realm_id": "us-east-1b",
    "name": "Größe & <Rest>",
    "description": "restored",
}


@pytest.fixture(scope="module")
def instance_id(ec2):
    # Any machine image will do: moto's own are not loaded.
    image = ec2.register_image(Name="tests")["ImageId"]
    [instance] = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"]
    return instance["InstanceId"]


@pytest.fixture
def attached_id(client, volume_id, instance_id):
    """Give a volume that is attached to the instance."""
    client.post(f"{VOLUMES}/{volume_id}/attach", {"instance_id": instance_id}, status=202)
    yield volume_id
    client.post(f"{VOLUMES}/{volume_id}/detach", status="*")


def native(ec2, id):
    [volume] = ec2.describe_volumes(VolumeIds=[id])["Volumes"]
    return volume


def test_volume_without_parameters_has_one_gb_in_the_first_available_zone(client, ec2):
    volume = read_xml(client.post(VOLUMES, status=201))
    assert (volume.findtext("capacity"), volume.findtext("realm_id")) == ("1", "us-east-1a")
    made = native(ec2, volume.get("id"))
    assert (made["Size"], made["AvailabilityZone"]) == (1, "us-east-1a")
    assert not made.get("Tags")


def test_volume_of_a_snapshot_has_its_size(client, ec2, snapshot_id):
    volume = read_xml(client.post(VOLUMES, {"snapshot_id": snapshot_id}, status=201))
    assert volume.findtext("capacity") == "8"
    assert native(ec2, volume.get("id"))["SnapshotId"] == snapshot_id


def _by_body(client, address, parameters):
    return client.post(address, parameters, status=201)


def _by_query(client, address, parameters):
    return client.post(f"{address}&{urlencode(parameters)}", status=201)


def _by_query_with_another_body(client, address, parameters):
    headers = {"Content-Type": "application/json"}
    return client.post(f"{address}&{urlencode(parameters)}", "{}", headers=headers, status=201)


@pytest.mark.parametrize("send", [_by_body, _by_query, _by_query_with_another_body])
def test_create_makes_a_volume_with_the_parameters(client, ec2, snapshot_id, send):
    given = GIVEN | {"snapshot_id": snapshot_id}
    made = native(ec2, read_xml(send(client, f"{VOLUMES}?format=xml", given)).get("id"))
    assert (made["Size"], made["AvailabilityZone"]) == (12, "us-east-1b")
    assert made["SnapshotId"] == snapshot_id
    assert {tag["Key"]: tag["Value"] for tag in made["Tags"]} == {
        "Name": "Größe & <Rest>",
        "Description": "restored",
    }


def test_create_returns_the_document_and_its_location(client):
    response = client.post(VOLUMES, GIVEN, status=201)
    volume = read_xml(response)
    assert response.headers["Location"] == volume.get("href")
    assert response.headers["Location"] == f"{BASE_URL}{VOLUMES}/{volume.get('id')}"
    assert volume.findtext("name") == "Größe & <Rest>"
    assert volume.findtext("description") == "restored"
    shown = client.get(f"{VOLUMES}/{volume.get('id')}?format=json").json["storage_volume"]
    assert (shown["name"], shown["description"]) == ("Größe & <Rest>", "restored")


def test_create_returns_the_volume_in_json(client):
    response = client.post(f"{VOLUMES}?format=json", GIVEN, status=201)
    volume = response.json["storage_volume"]
    assert response.headers["Location"] == volume["href"]
    assert (volume["capacity"], volume["realm"]["id"]) == (12, "us-east-1b")


def test_empty_parameters_of_a_form_are_unset(client):
    given = dict.fromkeys(("snapshot_id", "capacity", "realm_id", "name", "description"), "")
    volume = read_xml(client.post(VOLUMES, given, status=201))
    assert volume.findtext("capacity") == "1"
    assert volume.findtext("name") == volume.get("id")


def test_create_is_in_the_region_of_the_request(client, regional_ec2):
    address = "/api;provider=eu-west-1/storage_volumes"
    volume = read_xml(client.post(address, {"name": "x"}, status=201))
    assert volume.findtext("realm_id") == "eu-west-1a"
    assert volume.xpath("actions/link/@href")[0].startswith(f"{BASE_URL}{address}/vol-")
    assert native(regional_ec2("eu-west-1"), volume.get("id"))["Size"] == 1


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        *(("capacity", text) for text in ("0", "-1", "1.5", "ten", "65537", "9" * 30, "\uff11")),
        *(("snapshot_id", text) for text in ("snap-1", "vol-12345678", "x", "snap-12345678 ")),
    ],
)
def test_create_with_a_bad_parameter_is_400_that_names_it(
    programmed_client, programmed_ec2, parameter, value
):
    response = programmed_client.post(VOLUMES, {parameter: value}, status=400)
    assert read_xml(response).findtext("message").startswith(f"{parameter} {value!r} is not ")
    assert not programmed_ec2.requests


def test_create_from_an_unknown_snapshot_is_404(client):
    given = {"snapshot_id": "snap-00000000"}
    message = read_xml(client.post(VOLUMES, given, status=404)).findtext("message")
    assert message.startswith("InvalidSnapshot.NotFound: ")


def test_volume_is_attached_to_the_instance_and_device(client, ec2, volume_id, instance_id):
    given = {"instance_id": instance_id, "device": "/dev/sdz"}
    response = client.post(f"{VOLUMES}/{volume_id}/attach", given, status=202)
    volume = read_xml(response)
    assert volume.get("id") == volume_id
    assert volume.findtext("state") == "IN-USE"
    assert volume.find("mount/instance").get("id") == instance_id
    assert volume.find("mount/device").get("name") == volume.findtext("device") == "/dev/sdz"
    [attachment] = native(ec2, volume_id)["Attachments"]
    assert (attachment["InstanceId"], attachment["Device"]) == (instance_id, "/dev/sdz")


def test_elements_have_the_order_of_deltacloud(client, attached_id):
    """The Ruby gem 1.1.3 reads the first descendant "device"; that in the mount has no text."""
    volume = read_xml(client.get(f"{VOLUMES}/{attached_id}"))
    order = ["created", "capacity", "name", "device", "realm", "realm_id", "state", "mount"]
    assert [element.tag for element in volume] == [*order, "actions"]
    for root in (volume, read_xml(client.get(f"{VOLUMES}?id={attached_id}"))):
        assert next(root.iter("device")).text == "/dev/sdf"


def test_volume_is_attached_with_parameters_in_the_query(client, ec2, volume_id, instance_id):
    # The Ruby gem 1.1.3 sends an absent device like this.
    client.post(f"{VOLUMES}/{volume_id}/attach?instance_id={instance_id}&device", status=202)
    [attachment] = native(ec2, volume_id)["Attachments"]
    assert attachment["InstanceId"] == instance_id


def test_default_device_is_the_first_free_one(client, ec2, instance_id):
    made = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    devices = {
        attachment["Device"]
        for volume in ec2.describe_volumes()["Volumes"]
        for attachment in volume["Attachments"]
        if attachment["InstanceId"] == instance_id
    }
    expected = next(f"/dev/sd{x}" for x in "fghijklmnop" if f"/dev/sd{x}" not in devices)
    client.post(f"{VOLUMES}/{made}/attach", {"instance_id": instance_id}, status=202)
    [attachment] = native(ec2, made)["Attachments"]
    assert attachment["Device"] == expected


@pytest.mark.parametrize("body", ["", "instance_id=", "device=/dev/sdf"])
def test_attach_without_an_instance_is_400_that_names_the_parameter(client, ec2, volume_id, body):
    message = read_xml(client.post(f"{VOLUMES}/{volume_id}/attach", body, status=400))
    assert message.findtext("message").startswith("instance_id is missing")
    assert native(ec2, volume_id)["Attachments"] == []


@pytest.mark.parametrize("instance_id", ["i-1", "vol-12345678", "x"])
def test_attach_to_a_malformed_instance_is_400(client, volume_id, instance_id):
    given = {"instance_id": instance_id}
    response = client.post(f"{VOLUMES}/{volume_id}/attach", given, status=400)
    assert f"instance_id {instance_id!r} is not" in read_xml(response).findtext("message")


def test_attach_to_an_unknown_instance_is_404(client, ec2, volume_id):
    given = {"instance_id": "i-00000000"}
    response = client.post(f"{VOLUMES}/{volume_id}/attach", given, status=404)
    assert "InvalidInstanceID.NotFound: " in read_xml(response).findtext("message")
    assert native(ec2, volume_id)["Attachments"] == []


def test_attached_volume_is_detached(client, ec2, attached_id):
    volume = read_xml(client.post(f"{VOLUMES}/{attached_id}/detach", status=202))
    assert volume.get("id") == attached_id
    assert native(ec2, attached_id)["State"] == "available"
    assert read_xml(client.get(f"{VOLUMES}/{attached_id}")).find("mount") is None


def test_body_of_another_type_is_ignored_by_a_detach(client, ec2, attached_id):
    headers = {"Content-Type": "application/json"}
    client.post(f"{VOLUMES}/{attached_id}/detach", "{}", headers=headers, status=202)
    assert native(ec2, attached_id)["State"] == "available"


def test_body_of_another_type_is_415_where_the_query_has_no_parameters(client, volume_id):
    headers = {"Content-Type": "application/json"}
    for address in (VOLUMES, f"{VOLUMES}/{volume_id}/attach"):
        client.post(address, '{"capacity": 5}', headers=headers, status=415)


def test_volume_that_is_detached_may_be_attached_or_deleted_next(client, attached_id):
    volume = read_xml(client.post(f"{VOLUMES}/{attached_id}/detach", status=202))
    assert volume.xpath("actions/link/@rel") == ["attach", "destroy"]


def test_attach_and_detach_answer_in_json(client, volume_id, instance_id):
    address = f"{VOLUMES}/{volume_id}"
    given = {"instance_id": instance_id}
    response = client.post(f"{address}/attach?format=json", given, status=202)
    attached = response.json["storage_volume"]
    assert attached["instance"] == {"id": instance_id}
    assert attached["actions"] == [
        {"rel": "detach", "method": "post", "href": f"{BASE_URL}{address}/detach"}
    ]
    response = client.post(f"{address}/detach?format=json", status=202)
    assert response.json["storage_volume"]["id"] == volume_id


@pytest.mark.parametrize("action", ["attach", "detach"])
def test_browser_is_sent_to_the_page_of_the_volume(client, attached_id, instance_id, action):
    address = f"{VOLUMES}/{attached_id}"
    if action == "attach":
        client.post(f"{address}/detach", status=202)
    given = {"instance_id": instance_id}
    response = client.post(f"{address}/{action}", given, headers=HTML, status=303)
    assert response.headers["Location"] == f"{BASE_URL}{address}"


@pytest.mark.parametrize("action", ["attach", "detach"])
@pytest.mark.parametrize("id", ["vol-00000000", "vol-1", "snap-12345678", "%3Cx%3E"])
def test_action_on_an_unknown_volume_is_404(client, id, action):
    client.post(f"{VOLUMES}/{id}/{action}", {"instance_id": "i-12345678"}, status=404)


@pytest.mark.parametrize("action", ["attach", "detach"])
def test_action_supports_post_only(client, volume_id, action):
    response = client.get(f"{VOLUMES}/{volume_id}/{action}", status=405)
    assert response.headers["Allow"] == "OPTIONS, POST"


def test_deleted_volume_is_gone(client, volume_id):
    response = client.delete(f"{VOLUMES}/{volume_id}", status=204)
    assert response.body == b""
    client.get(f"{VOLUMES}/{volume_id}", status=404)


@pytest.mark.parametrize("id", ["vol-00000000", "vol-1", "snap-12345678"])
def test_delete_of_an_unknown_volume_is_404(client, id):
    client.delete(f"{VOLUMES}/{id}", status=404)


def test_volume_in_use_is_not_deleted(client, attached_id):
    response = client.delete(f"{VOLUMES}/{attached_id}", status=502)
    assert "VolumeInUse: " in read_xml(response).findtext("message")
    client.get(f"{VOLUMES}/{attached_id}", status=200)


def test_post_with_method_delete_deletes_the_volume(client, volume_id):
    client.post(f"{VOLUMES}/{volume_id}", {"_method": "delete"}, status=204)
    client.get(f"{VOLUMES}/{volume_id}", status=404)


def test_post_with_method_delete_in_html_redirects_to_the_list(client, volume_id):
    given = {"_method": "delete"}
    response = client.post(f"{VOLUMES}/{volume_id}", given, headers=HTML, status=303)
    assert response.headers["Location"] == f"{BASE_URL}{VOLUMES}"


def test_method_override_deletes_the_volume(client, volume_id):
    headers = {"X-HTTP-Method-Override": "DELETE"}
    client.post(f"{VOLUMES}/{volume_id}", headers=headers, status=204)


def test_post_to_a_volume_without_a_method_is_405(client, volume_id):
    response = client.post(f"{VOLUMES}/{volume_id}", status=405)
    assert response.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, POST"
    client.get(f"{VOLUMES}/{volume_id}", status=200)


def test_changes_by_a_page_of_another_site_are_403(client, ec2, volume_id, instance_id):
    headers = {"Origin": "https://evil.example.org"}
    given = {"instance_id": instance_id}
    before = len(ec2.describe_volumes()["Volumes"])
    client.post(VOLUMES, headers=headers, status=403)
    client.post(f"{VOLUMES}/{volume_id}/attach", given, headers=headers, status=403)
    client.post(f"{VOLUMES}/{volume_id}", {"_method": "delete"}, headers=headers, status=403)
    client.delete(f"{VOLUMES}/{volume_id}", headers=headers, status=403)
    assert len(ec2.describe_volumes()["Volumes"]) == before
    assert native(ec2, volume_id)["State"] == "available"


@pytest.mark.parametrize("path", ["", "/vol-12345678", "/vol-12345678/attach"])
def test_changes_of_volumes_need_credentials(anonymous_client, path):
    anonymous_client.post(f"{VOLUMES}{path}", {"_method": "delete"}, status=401)
