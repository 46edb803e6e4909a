"""HTML pages: forms keep their input, and cross-origin changes are rejected."""

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.ec2_responses import error_response, snapshot_item, snapshots_page
from tests.support.responders import always

HTML = {"Accept": "text/html"}


def test_form_for_a_new_snapshot(client):
    page = client.get(f"{SNAPSHOTS}/new", headers=HTML)
    assert set(page.form.fields) - {None} == {"volume_id", "name", "description"}
    assert page.form.method.lower() == "post"
    assert page.form.action == f"http://localhost:3001{SNAPSHOTS}"


def test_form_is_prefilled_with_the_volume_from_the_query(client):
    page = client.get(f"{SNAPSHOTS}/new?volume_id=vol-12345678", headers=HTML)
    assert page.form["volume_id"].value == "vol-12345678"


@pytest.mark.parametrize("format", ["xml", "json"])
def test_form_is_406_in_xml_and_json(client, format):
    client.get(f"{SNAPSHOTS}/new?format={format}", status=406)


def test_submitted_form_creates_a_snapshot(client, ec2, volume_id):
    page = client.get(f"{SNAPSHOTS}/new", headers=HTML)
    page.form["volume_id"] = volume_id
    page.form["name"] = "weekly"
    page.form["description"] = "line one\nline two"
    made = page.form.submit(headers=HTML, status=201)
    assert made.html.h1.text.startswith("Storage snapshot snap-")
    [snapshot] = ec2.describe_snapshots(Filters=[{"Name": "volume-id", "Values": [volume_id]}])[
        "Snapshots"
    ]
    assert {"Key": "Name", "Value": "weekly"} in snapshot["Tags"]


def test_page_of_a_volume_has_a_form_prefilled_with_the_volume(client, volume_id):
    page = client.get(f"/api/storage_volumes/{volume_id}", headers=HTML)
    assert page.form["volume_id"].value == volume_id
    page.form.submit(headers=HTML, status=201)


@pytest.mark.parametrize("volume_id", ["", "foo", "vol-00000000"])
def test_form_error_keeps_the_input_and_is_linked_to_its_field(client, volume_id):
    page = client.get(f"{SNAPSHOTS}/new", headers=HTML)
    page.form["volume_id"] = volume_id
    page.form["name"] = 'a "name" & <more>'
    page.form["description"] = "\nsome text"
    again = page.form.submit(headers=HTML, expect_errors=True)
    assert again.status_code in {400, 404}
    assert again.form["volume_id"].value == volume_id
    assert again.form["name"].value == 'a "name" & <more>'
    assert again.form["description"].value.strip() == "some text"
    field = again.html.find(id="volume_id")
    assert field["aria-invalid"] == "true"
    assert "volume" in again.html.find(id=field["aria-describedby"]).text.lower()


@pytest.mark.parametrize(
    ("code", "of_ec2", "status"),
    [("SnapshotLimitExceeded", 400, 502), ("UnauthorizedOperation", 403, 502), ("X", 500, 502)],
)
def test_form_error_without_a_field_keeps_the_input(
    programmed_client, programmed_ec2, code, of_ec2, status
):
    programmed_ec2.respond = always(error_response(code, of_ec2))
    given = {"volume_id": "vol-12345678", "name": "weekly"}
    page = programmed_client.post(SNAPSHOTS, given, headers=HTML, status=status)
    assert page.form["volume_id"].value == "vol-12345678"
    assert page.form["name"].value == "weekly"
    assert page.html.find(role="alert").text.startswith(code)


def test_delete_asks_for_confirmation_and_redirects_to_the_list(client, snapshot_id):
    page = client.get(f"{SNAPSHOTS}/{snapshot_id}", headers=HTML)
    dialog = page.html.find("dialog")
    assert page.html.find("button", popovertarget=dialog["id"])
    assert dialog.find("form")["action"].endswith(snapshot_id)
    response = page.form.submit(headers=HTML, status=303)
    assert response.headers["Location"].endswith(SNAPSHOTS)
    client.get(f"{SNAPSHOTS}/{snapshot_id}", status=404)


def test_list_page_links_to_the_callers_own_snapshots(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
    page = programmed_client.get(SNAPSHOTS, headers=HTML)
    page.click("My own", extra_environ={"HTTP_ACCEPT": "text/html"})
    assert programmed_ec2.requests[-1].parameters["Owner.1"] == "self"


def test_times_are_machine_readable(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
    for address in (SNAPSHOTS, f"{SNAPSHOTS}/snap-12345678"):
        time = programmed_client.get(address, headers=HTML).html.find("time")
        assert time["datetime"] == "2011-07-28T21:54:19.000Z"
        assert time.text == "Thu Jul 28 21:54:19 UTC 2011"


def test_placeholder_volume_is_not_linked(programmed_client, programmed_ec2):
    item = snapshot_item("snap-12345678", "vol-ffffffff")
    programmed_ec2.respond = always(snapshots_page(item))
    for address in (SNAPSHOTS, f"{SNAPSHOTS}/snap-12345678"):
        page = programmed_client.get(address, headers=HTML)
        assert "vol-ffffffff" not in page.text


def test_hostile_texts_are_escaped(programmed_client, programmed_ec2):
    hostile = "<script>alert(1)</script>\"'"
    item = snapshot_item("snap-12345678", description=hostile, name=hostile)
    programmed_ec2.respond = always(snapshots_page(item))
    for address in (SNAPSHOTS, f"{SNAPSHOTS}/snap-12345678"):
        page = programmed_client.get(address, headers=HTML)
        assert page.html.find("script") is None
        assert hostile in page.html.text


@pytest.mark.parametrize("address", ["/api", "/api/nothing", f"{SNAPSHOTS}/new", SNAPSHOTS])
def test_pages_have_security_headers(client, address):
    headers = client.get(address, headers=HTML, expect_errors=True).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3002"},
        {"Origin": "http://localhost:3001.evil.example.org"},
        {"Origin": "http://evil@localhost:3001"},
        {"Origin": ""},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example.org", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_cross_origin_changes_are_403(client, ec2, volume_id, snapshot_id, headers):
    client.post(SNAPSHOTS, {"volume_id": volume_id}, headers=headers, status=403)
    client.delete(f"{SNAPSHOTS}/{snapshot_id}", headers=headers, status=403)
    given = {"_method": "delete"}
    client.post(f"{SNAPSHOTS}/{snapshot_id}", given, headers=headers, status=403)
    snapshots = ec2.describe_snapshots(Filters=[{"Name": "volume-id", "Values": [volume_id]}])
    assert [snapshot["SnapshotId"] for snapshot in snapshots["Snapshots"]] == [snapshot_id]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:3001"},
        {"Origin": "https://localhost:3001"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_same_origin_and_non_browser_changes_are_allowed(client, snapshot_id, headers):
    client.delete(f"{SNAPSHOTS}/{snapshot_id}", headers=headers, status=204)


def test_cross_origin_reads_are_allowed(client):
    headers = {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"}
    client.get(SNAPSHOTS, headers=headers, status=200)


def test_same_origin_is_recognised_where_host_contains_the_default_port(client, snapshot_id):
    client.delete(
        f"{SNAPSHOTS}/{snapshot_id}",
        headers={"Origin": "https://cloud.example.org", "Host": "cloud.example.org:443"},
        status=204,
    )


@pytest.mark.parametrize("address", ["/api/%00", "/api/%0b", f"{SNAPSHOTS}/%1b"])
def test_page_contains_no_control_characters(client, address):
    page = client.get(address, headers=HTML, status=404)
    assert not any(character < " " and character != "\n" for character in page.text)
