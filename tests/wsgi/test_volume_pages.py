"""HTML pages of volumes: the form that restores a snapshot, and forms for what a state allows."""

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.ec2_model import INSTANCE, EC2Model
from tests.support.ec2_responses import (
    error_response,
    snapshot_item,
    snapshots_page,
    volume_item,
    volumes_page,
)
from tests.support.responders import always

VOLUMES = "/api/storage_volumes"
HTML = {"Accept": "text/html"}
ATTACHED = (INSTANCE, "/dev/sdf", "attached")


@pytest.fixture
def model(programmed_ec2):
    programmed_ec2.respond = EC2Model()
    return programmed_ec2.respond


def form_of(page, button):
    """Give the form with a button of this text."""
    [form] = [form for form in page.forms.values() if button in form.text]
    return form


def buttons_of(page):
    return {button.text for button in page.html.main.find_all("button")}


def test_snapshot_links_to_the_form_that_restores_it(programmed_client, programmed_ec2, model):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
    page = programmed_client.get(f"{SNAPSHOTS}/snap-12345678", headers=HTML)
    programmed_ec2.respond = model
    page = page.click("Restore to a volume", extra_environ={"HTTP_ACCEPT": "text/html"})
    assert page.form["snapshot_id"].value == "snap-12345678"
    assert page.form["capacity"].value == "8"
    page.form["realm_id"] = "us-east-1c"
    page.form["name"] = "restored"
    page.form["description"] = "from\nthe page"
    made = page.form.submit(headers=HTML, status=201)
    [(id, volume)] = model.volumes.items()
    assert made.headers["Location"].endswith(f"{VOLUMES}/{id}")
    assert made.html.h1.text == f"Storage volume {id}"
    assert (volume.zone, volume.size) == ("us-east-1c", 8)
    assert volume.tags["Name"] == "restored"


def test_form_offers_the_available_realms(programmed_client, model):
    page = programmed_client.get(f"{VOLUMES}/new?realm_id=us-east-1c", headers=HTML)
    values = [value for value, _, _ in page.form["realm_id"].options]
    assert values == ["", "us-east-1b", "us-east-1c"]
    assert page.form["realm_id"].value == "us-east-1c"


@pytest.mark.parametrize("fault", [error_response("UnauthorizedOperation", 403), None])
def test_form_takes_a_realm_when_ec2_lists_none(programmed_client, anonymous_client, model, fault):
    model.faults["DescribeAvailabilityZones"] = [(fault, False)]
    client = programmed_client if fault else anonymous_client
    page = client.get(f"{VOLUMES}/new?realm_id=us-east-1c", headers=HTML, status=200)
    assert page.html.select_one("input#realm_id")["value"] == "us-east-1c"


@pytest.mark.parametrize("format", ["xml", "json"])
def test_form_is_406_in_xml_and_json(client, format):
    client.get(f"{VOLUMES}/new?format={format}", status=406)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("snapshot_id", "foo"),
        ("snapshot_id", "snap-00000000"),
        ("capacity", "0"),
        ("realm_id", "nowhere"),
    ],
)
def test_form_error_keeps_the_input_and_is_linked_to_its_field(
    programmed_client, model, name, value
):
    given = {"name": 'a "name"', "capacity": "9", "realm_id": "us-east-1c", name: value}
    page = programmed_client.post(VOLUMES, given, headers=HTML, expect_errors=True)
    assert page.status_code in {400, 404}
    assert {field: page.form[field].value for field in given} == given
    field = page.html.find(id=name)
    assert field["aria-invalid"] == "true"
    assert page.html.find(id=field["aria-describedby"])["role"] == "alert"
    assert not model.volumes


def test_form_error_without_a_field_keeps_the_input(programmed_client, model):
    model.faults["CreateVolume"] = [(error_response("VolumeLimitExceeded"), False)]
    page = programmed_client.post(VOLUMES, {"name": "kept"}, headers=HTML, status=502)
    assert page.form["name"].value == "kept"
    assert page.html.find(role="alert").text.startswith("VolumeLimitExceeded")


@pytest.mark.parametrize(
    ("attachment", "buttons"),
    [(None, {"Attach the volume", "Delete the volume"}), (ATTACHED, {"Detach the volume"})],
)
def test_page_has_the_forms_that_the_state_allows(programmed_client, model, attachment, buttons):
    id = model.add_volume(attachment=attachment)
    page = programmed_client.get(f"{VOLUMES}/{id}", headers=HTML)
    assert buttons_of(page) == buttons | {"Create the snapshot"}
    for confirmation in page.html.find_all("details"):
        assert not confirmation.has_attr("open")


@pytest.mark.parametrize(
    ("name", "value"), [("instance_id", "i-1"), ("instance_id", "i-99999999"), ("instance_id", "")]
)
def test_failed_attach_keeps_the_input_and_is_linked_to_its_field(
    programmed_client, model, name, value
):
    id = model.add_volume()
    given = {"instance_id": INSTANCE, "device": "/dev/sdz", name: value}
    page = programmed_client.post(f"{VOLUMES}/{id}/attach", given, headers=HTML, status="4*")
    form = form_of(page, "Attach the volume")
    assert {field: form[field].value for field in given} == given
    field = page.html.find(id=name)
    assert field["aria-invalid"] == "true"
    assert len(page.html.find_all(role="alert")) == 1
    assert page.html.find(id=field["aria-describedby"])["role"] == "alert"
    assert field.find_parent("details").has_attr("open")
    assert form_of(page, "Create the snapshot")["volume_id"].value == id


@pytest.mark.parametrize(
    ("action", "attachment", "button"),
    [
        ("attach", None, "Attach the volume"),
        ("attach", ATTACHED, "Detach the volume"),
        ("detach", ATTACHED, "Detach the volume"),
        ("detach", None, "Attach the volume"),
    ],
)
def test_refused_change_shows_the_volume_as_it_is(
    programmed_client, model, action, attachment, button
):
    id = model.add_volume(attachment=attachment)
    model.faults[f"{action.title()}Volume"] = [(error_response("IncorrectState"), False)]
    given = {"instance_id": INSTANCE}
    page = programmed_client.post(f"{VOLUMES}/{id}/{action}", given, headers=HTML, status=502)
    [alert] = page.html.find_all(role="alert")
    assert alert.text.startswith("IncorrectState")
    assert page.html.h1.text == f"502 Bad Gateway: Storage volume {id}"
    assert button in buttons_of(page)


def test_failed_change_of_an_unknown_volume_is_an_error_page(programmed_client, model):
    page = programmed_client.post(
        f"{VOLUMES}/vol-99999999/attach", {"instance_id": INSTANCE}, headers=HTML, status=404
    )
    assert page.html.h1.text == "404 Not Found"
    assert buttons_of(page) == set()


def test_user_attaches_detaches_and_deletes_a_volume(programmed_client, model):
    id = model.add_volume()
    page = programmed_client.get(f"{VOLUMES}/{id}", headers=HTML)
    form = form_of(page, "Attach the volume")
    form["instance_id"] = INSTANCE
    page = form.submit(headers=HTML, status=303).follow(headers=HTML)
    assert model.volumes[id].attachment[:2] == (INSTANCE, "/dev/sdf")
    assert f"{INSTANCE} as /dev/sdf" in page.text
    form = form_of(page, "Detach the volume")
    page = form.submit(headers=HTML, status=303).follow(headers=HTML)
    assert model.volumes[id].attachment is None
    form = form_of(page, "Delete the volume")
    page = form.submit(headers=HTML, status=303).follow(headers=HTML)
    assert page.html.h1.text == "Storage volumes"
    assert not model.volumes


@pytest.mark.parametrize(
    ("status", "query", "reloads"),
    [("creating", "", True), ("creating", "?reload=off", False), ("available", "", False)],
)
def test_only_the_page_of_a_volume_in_creation_reloads_itself(
    programmed_client, programmed_ec2, status, query, reloads
):
    volume = volumes_page(volume_item("vol-12345678", status=status))
    programmed_ec2.respond = always(volume)
    response = programmed_client.get(f"{VOLUMES}/vol-12345678{query}", headers=HTML)
    assert ("Refresh" in response.headers) == reloads
