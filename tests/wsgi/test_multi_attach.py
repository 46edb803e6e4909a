"""Volumes with several attachments: documents, actions and detach are about those that hold."""

import pytest

from tests.support.documents import read_xml
from tests.support.ec2_responses import volume_item, volumes_page, xml_response

VOLUME = "/api/storage_volumes/vol-12345678"
A, B, C = "i-aaaaaaaa", "i-bbbbbbbb", "i-cccccccc"


@pytest.fixture
def attach(programmed_ec2):
    """Give a function that sets the attachments of the volume: instances and statuses."""

    def set_attachments(*attachments):
        triples = [(instance, f"/dev/sd{instance[-1]}", status) for instance, status in attachments]
        volume = volume_item("vol-12345678", triples, status="in-use")

        def respond(request):
            if request.action == "DescribeVolumes":
                return volumes_page(volume)
            return xml_response(f"{request.action}Response", "<status>detaching</status>")

        programmed_ec2.respond = respond

    return set_attachments


@pytest.mark.parametrize(
    ("attachments", "mounted", "actions"),
    [
        ([(A, "attached"), (B, "attached")], A, ["detach"]),
        ([(A, "detaching"), (B, "attached")], B, ["detach"]),
        ([(A, "detached"), (B, "detaching"), (C, "attaching")], C, ["detach"]),
        ([(A, "detaching"), (B, "busy")], B, ["attach", "destroy"]),
        ([(A, "busy"), (B, "attached")], A, ["detach"]),
        ([(A, "detached"), (B, "detaching")], B, ["attach", "destroy"]),
        ([(A, "detached")], None, ["detach"]),
        ([(A, "")], A, ["detach"]),
    ],
)
def test_document_is_about_the_attachments_that_hold(
    programmed_client, attach, attachments, mounted, actions
):
    attach(*attachments)
    device = f"/dev/sd{mounted[-1]}" if mounted else None
    volume = read_xml(programmed_client.get(VOLUME))
    assert volume.xpath("mount/instance/@id") == [mounted] * bool(mounted)
    assert volume.xpath("mount/device/@name") == [device] * bool(mounted)
    assert volume.findtext("device") == device
    assert volume.xpath("actions/link/@rel") == actions
    [listed] = read_xml(programmed_client.get("/api/storage_volumes"))
    assert listed.findtext("device") == device
    value = programmed_client.get(f"{VOLUME}?format=json").json["storage_volume"]
    assert value["instance"] == ({"id": mounted} if mounted else {})
    assert value["device"] == device
    assert [action["rel"] for action in value["actions"]] == actions


@pytest.mark.parametrize(
    ("attachments", "detached"),
    [
        ([(A, "attached")], A),
        ([(A, "detaching"), (B, "attached")], B),
        ([(A, "attaching"), (B, "detached"), (C, "detaching")], A),
        ([(A, "busy")], A),
        ([(A, "detaching")], A),
        ([(A, "detached")], None),
        ([], None),
    ],
)
def test_detach_without_an_instance_is_of_the_only_one_that_holds(
    programmed_client, programmed_ec2, attach, attachments, detached
):
    attach(*attachments)
    programmed_client.post(f"{VOLUME}/detach", status=202)
    assert programmed_ec2.requests[-1].action == "DetachVolume"
    assert programmed_ec2.requests[-1].parameters.get("InstanceId") == detached


@pytest.mark.parametrize(
    ("attachments", "named"),
    [
        ([(A, "attached"), (B, "attached")], f"{A}, {B}"),
        ([(A, "detaching"), (B, "busy"), (C, "attaching")], f"{B}, {C}"),
    ],
)
def test_detach_without_an_instance_is_400_when_several_hold(
    programmed_client, programmed_ec2, attach, attachments, named
):
    attach(*attachments)
    message = read_xml(programmed_client.post(f"{VOLUME}/detach", status=400)).findtext("message")
    assert message == f"instance_id is missing: the volume is attached to {named}."
    assert programmed_ec2.requests[-1].action == "DescribeVolumes"


def test_detach_of_one_of_several_shows_the_others(programmed_client, programmed_ec2, attach):
    attach((A, "attached"), (B, "attached"))
    volume = read_xml(programmed_client.post(f"{VOLUME}/detach", {"instance_id": A}, status=202))
    assert programmed_ec2.requests[-1].parameters["InstanceId"] == A
    assert volume.xpath("mount/instance/@id") == [B]
    assert volume.xpath("actions/link/@rel") == ["detach"]


def test_attach_to_a_further_instance_shows_that_one(programmed_client, attach):
    attach((A, "attached"))
    given = {"instance_id": B, "device": "/dev/sdb"}
    volume = read_xml(programmed_client.post(f"{VOLUME}/attach", given, status=202))
    assert volume.xpath("mount/instance/@id") == [B]
    assert volume.findtext("device") == "/dev/sdb"


def test_page_detaches_from_each_instance(programmed_client, programmed_ec2, attach):
    attach((A, "attached"), (B, "attached"))
    html = {"Accept": "text/html"}
    page = programmed_client.get(VOLUME, headers=html)
    assert f"{A} as /dev/sda" in page.text
    assert f"{B} as /dev/sdb" in page.text
    forms = [form for form in page.forms.values() if "instance_id" in form.fields]
    assert [form["instance_id"].value for form in forms] == [A, B]
    forms[1].submit(headers=html, status=303)
    assert programmed_ec2.requests[-1].parameters["InstanceId"] == B
