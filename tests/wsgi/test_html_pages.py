"""HTML pages: forms keep their input, and cross-origin changes are rejected."""

import base64
from hashlib import sha256

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.ec2_responses import (
    created_response,
    error_response,
    snapshot_item,
    snapshots_page,
)
from tests.support.responders import always, in_turn, two_pages

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
    [form] = [form for form in page.forms.values() if "volume_id" in form.fields]
    assert form["volume_id"].value == volume_id
    form.submit(headers=HTML, status=201)


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
    confirmation = page.html.find("details")
    assert not confirmation.has_attr("open")
    assert confirmation.find("form")["action"].endswith(snapshot_id)
    response = page.form.submit(headers=HTML, status=303)
    assert response.headers["Location"].endswith(SNAPSHOTS)
    client.get(f"{SNAPSHOTS}/{snapshot_id}", status=404)


def test_list_page_has_the_callers_own_snapshots_and_links_to_all(
    programmed_client, programmed_ec2
):
    page = programmed_client.get(SNAPSHOTS, headers=HTML)
    assert programmed_ec2.requests[-1].parameters["Owner.1"] == "self"
    page = page.click("all snapshots", extra_environ={"HTTP_ACCEPT": "text/html"})
    assert "Owner.1" not in programmed_ec2.requests[-1].parameters
    page.click("my own", extra_environ={"HTTP_ACCEPT": "text/html"})
    assert programmed_ec2.requests[-1].parameters["Owner.1"] == "self"


@pytest.mark.parametrize("format", ["xml", "json"])
def test_only_the_page_has_the_callers_own_snapshots_by_default(
    programmed_client, programmed_ec2, format
):
    programmed_client.get(f"{SNAPSHOTS}?format={format}&search=weekly", status=200)
    assert programmed_ec2.requests[-1].parameters.keys() == {"MaxResults", "Version"}


def test_option_owners_decides_for_the_page_too(client_with, programmed_ec2):
    client_with(owners=("amazon",)).get(SNAPSHOTS, headers=HTML)
    assert programmed_ec2.requests[-1].parameters["Owner.1"] == "amazon"


def test_page_of_one_id_has_snapshots_of_all_owners(programmed_client, programmed_ec2):
    programmed_client.get(f"{SNAPSHOTS}?id=snap-12345678", headers=HTML)
    assert "Owner.1" not in programmed_ec2.requests[-1].parameters


@pytest.mark.parametrize(
    ("text", "filters", "pattern"),
    [
        ("snap-12345678", ["snapshot-id"], "*snap-12345678*"),
        ("snap-12*", ["snapshot-id"], "snap-12*"),
        ("vol-0bc0", ["volume-id"], "*vol-0bc0*"),
        ("vol-au-vent", ["tag:Name", "description"], "*vol-au-vent*"),
        (" weekly ", ["tag:Name", "description"], "*weekly*"),
        ("week*", ["tag:Name", "description"], "week*"),
        ("C:\\", ["tag:Name", "description"], "*C:\\\\*"),
    ],
)
def test_search_filters_by_what_the_text_looks_like(
    programmed_client, programmed_ec2, text, filters, pattern
):
    page = programmed_client.get(SNAPSHOTS, headers=HTML)
    programmed_ec2.requests.clear()
    form = page.forms[0]
    form["search"] = text
    found = form.submit(headers=HTML, status=200)
    sent = [request.parameters for request in programmed_ec2.requests]
    assert [request["Filter.1.Name"] for request in sent] == filters
    assert {request["Filter.1.Value.1"] for request in sent} == {pattern}
    assert {request["Owner.1"] for request in sent} == {"self"}
    assert found.forms[0]["search"].value == text.strip()


def test_search_keeps_the_owner(programmed_client, programmed_ec2):
    page = programmed_client.get(f"{SNAPSHOTS}?owner_id=", headers=HTML)
    page.forms[0]["search"] = "weekly"
    page = page.forms[0].submit(headers=HTML)
    assert "Owner.1" not in programmed_ec2.requests[-1].parameters
    page.click("my own", extra_environ={"HTTP_ACCEPT": "text/html"})
    last = programmed_ec2.requests[-1].parameters
    assert (last["Owner.1"], last["Filter.1.Value.1"]) == ("self", "*weekly*")


def test_search_lists_each_snapshot_once(programmed_client, programmed_ec2):
    by_name = [snapshots_page(snapshot_item("snap-11111111"), "more")]
    by_name += [snapshots_page(snapshot_item("snap-22222222"))]
    by_description = snapshots_page(snapshot_item("snap-11111111") + snapshot_item("snap-33333333"))
    programmed_ec2.respond = in_turn(*by_name, by_description)
    page = programmed_client.get(f"{SNAPSHOTS}?search=weekly", headers=HTML)
    ids = [row.th.text for row in page.html.find_all("tr") if row.th and row.td]
    assert ids == ["snap-11111111", "snap-22222222", "snap-33333333"]
    assert "Number of storage snapshots: 3" in page.html.tfoot.text


def test_search_works_in_moto(client, ec2, volume_id, snapshot_id):
    word = f"zebra-{volume_id}"  # other tests use the same moto
    tag = {"ResourceType": "snapshot", "Tags": [{"Key": "Name", "Value": f"{word} stripes"}]}
    named = ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=[tag])["SnapshotId"]
    described = ec2.create_snapshot(VolumeId=volume_id, Description=f"of a {word}")["SnapshotId"]
    for text, ids in {
        word: {named, described},
        f"{word}*": {named},
        snapshot_id: {snapshot_id},
        volume_id: {named, described, snapshot_id},
    }.items():
        page = client.get(SNAPSHOTS, {"search": text}, headers=HTML)
        assert {row.th.text for row in page.html.find_all("tr") if row.th and row.td} == ids


def test_long_list_says_how_much_has_come(programmed_client, programmed_ec2):
    first = snapshots_page(snapshot_item("snap-11111111") + snapshot_item("snap-22222222"), "more")
    programmed_ec2.respond = two_pages(first, snapshots_page(snapshot_item("snap-33333333")))
    page = programmed_client.get(SNAPSHOTS, headers=HTML)
    notes = [note.text for note in page.html.find_all("tbody", "loading")]
    assert notes[0] == "2 storage snapshots so far, the list is still loading…"
    assert page.html.find("table").find_all(recursive=False)[-1].name == "tfoot"
    assert page.html.tfoot.text == "Number of storage snapshots: 3"


def pending_item(progress="40%", more="<encrypted>true</encrypted>"):
    item = snapshot_item("snap-12345678", status="pending")
    return item.replace("100%", progress).replace("</item>", f"{more}</item>")


@pytest.mark.parametrize("address", [SNAPSHOTS, f"{SNAPSHOTS}/snap-12345678"])
def test_pages_show_state_progress_size_owner_and_encryption(
    programmed_client, programmed_ec2, address
):
    programmed_ec2.respond = always(snapshots_page(pending_item()))
    page = programmed_client.get(address, headers=HTML)
    assert (page.html.mark["class"], page.html.mark.text) == (["pending"], "pending")
    assert page.html.progress["value"] == "40"
    cells = {cell.text for cell in page.html.find_all(["td", "dd"])}
    assert {"8\xa0GB", "123456789012", "yes"} <= cells


@pytest.mark.parametrize("address", [SNAPSHOTS, f"{SNAPSHOTS}/snap-12345678"])
def test_unreadable_details_are_omitted(programmed_client, programmed_ec2, address):
    item = pending_item("soon", "<encrypted>maybe</encrypted>").replace(">8<", ">many<")
    programmed_ec2.respond = always(snapshots_page(item))
    page = programmed_client.get(address, headers=HTML)
    assert not page.html.progress.has_attr("value")
    assert not any(text in page.html.main.text for text in ("soon", "many", "maybe", "GB"))


@pytest.mark.parametrize("address", [SNAPSHOTS, f"{SNAPSHOTS}/snap-12345678"])
def test_completed_snapshot_has_no_progress_bar(programmed_client, programmed_ec2, address):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
    page = programmed_client.get(address, headers=HTML)
    assert page.html.mark.text == "completed"
    assert page.html.progress is None


@pytest.mark.parametrize(
    ("status", "address", "accept", "reloads"),
    [
        ("pending", "/snap-12345678", "text/html", True),
        ("pending", "/snap-12345678?reload=off", "text/html", False),
        ("pending", "/snap-12345678", "application/xml", False),
        ("pending", "", "text/html", False),
        ("completed", "/snap-12345678", "text/html", False),
        ("error", "/snap-12345678", "text/html", False),
    ],
)
def test_only_the_page_of_a_pending_snapshot_reloads_itself(
    programmed_client, programmed_ec2, status, address, accept, reloads
):
    item = snapshot_item("snap-12345678", status=status)
    programmed_ec2.respond = always(snapshots_page(item))
    response = programmed_client.get(SNAPSHOTS + address, headers={"Accept": accept})
    assert ("Refresh" in response.headers) == reloads


def test_page_after_a_create_reloads_as_that_of_the_snapshot(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(created_response(pending_item()))
    given = {"volume_id": "vol-12345678"}
    response = programmed_client.post(SNAPSHOTS, given, headers=HTML, status=201)
    seconds, _, url = response.headers["Refresh"].partition("; url=")
    assert (seconds, url) == ("5", response.headers["Location"])


def test_form_offers_the_volumes_of_the_caller(client, volume_id):
    page = client.get(f"{SNAPSHOTS}/new", headers=HTML)
    field = page.html.find(id="volume_id")
    option = page.html.find("datalist", id=field["list"]).find(value=volume_id)
    assert option.text == f"{volume_id}, 8 GB"


def test_form_needs_no_credentials(anonymous_client):
    page = anonymous_client.get(f"{SNAPSHOTS}/new", headers=HTML, status=200)
    assert page.html.datalist is None


@pytest.mark.parametrize(
    "fault", [error_response("UnauthorizedOperation", 403), error_response("", 500)]
)
def test_form_takes_an_id_when_ec2_lists_no_volumes(programmed_client, programmed_ec2, fault):
    programmed_ec2.respond = always(fault)
    page = programmed_client.get(f"{SNAPSHOTS}/new?volume_id=vol-12345678", headers=HTML)
    assert page.form["volume_id"].value == "vol-12345678"
    assert page.html.datalist is None
    assert [request.action for request in programmed_ec2.requests] == ["DescribeVolumes"]


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


def test_policy_allows_the_stylesheet_of_the_page(client):
    page = client.get("/api", headers=HTML)
    digest = base64.b64encode(sha256(page.html.style.text.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in page.headers["Content-Security-Policy"]


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
