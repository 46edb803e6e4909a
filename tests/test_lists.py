"""Lists of many pages, and what is asked of EC2 for them."""

import pytest
from webob import Request

from dcproxy.app import application
from dcproxy.settings import Settings
from tests.conftest import client_of
from tests.programmed_ec2 import refusal, snapshot_item, snapshots_page

SNAPSHOTS = "/api/storage_snapshots"
TOTAL = 2500
IDS = [f"snap-{number:08x}" for number in range(TOTAL)]


def pages(request):
    """2,500 snapshots in pages of MaxResults, as EC2 gives them."""
    start = int(request.parameters.get("NextToken", "0"))
    end = min(start + int(request.parameters["MaxResults"]), TOTAL)
    items = "".join(map(snapshot_item, IDS[start:end]))
    return snapshots_page(items, str(end) if end < TOTAL else "")


def test_three_pages_come_out_as_one_xml_document(client_of_programmed, programmed_ec2, xml):
    programmed_ec2.respond = pages
    root = xml(client_of_programmed.get(SNAPSHOTS))
    assert root.xpath("/storage_snapshots/storage_snapshot/@id") == IDS
    assert len(programmed_ec2.requests) == 3


def test_three_pages_come_out_as_one_json_document(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = pages
    snapshots = client_of_programmed.get(f"{SNAPSHOTS}?format=json").json["storage_snapshots"]
    assert [snapshot["id"] for snapshot in snapshots] == IDS


def test_three_pages_come_out_as_one_page_for_people(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = pages
    page = client_of_programmed.get(f"{SNAPSHOTS}?format=html")
    assert [row.th.text for row in page.html.tbody.find_all("tr")] == IDS


def test_pages_without_a_snapshot_do_not_break_the_document(client_of_programmed, programmed_ec2):
    tokens = {"": "a", "a": "b", "b": "c", "c": ""}

    def respond(request):
        token = request.parameters.get("NextToken", "")
        items = snapshot_item(f"snap-{token * 8}") if token in {"a", "c"} else ""
        return snapshots_page(items, tokens[token])

    programmed_ec2.respond = respond
    response = client_of_programmed.get(f"{SNAPSHOTS}?format=json")
    assert [snapshot["id"] for snapshot in response.json["storage_snapshots"]] == [
        "snap-aaaaaaaa",
        "snap-cccccccc",
    ]


def test_page_is_asked_for_when_the_last_one_was_taken(settings_of_programmed, programmed_ec2):
    programmed_ec2.respond = pages
    request = Request.blank(SNAPSHOTS, authorization="Basic QUtJRDpzZWNyZXQ=")
    chunks = iter(request.get_response(application(settings_of_programmed)).app_iter)
    counts = []
    for chunk in chunks:
        if b"<storage_snapshot " in chunk:
            counts.append(len(programmed_ec2.requests))
    assert counts == [1, 2, 3]


def test_list_that_is_closed_asks_for_no_more(settings_of_programmed, programmed_ec2):
    programmed_ec2.respond = pages
    request = Request.blank(SNAPSHOTS, authorization="Basic QUtJRDpzZWNyZXQ=")
    chunks = request.get_response(application(settings_of_programmed)).app_iter
    next(chunks)
    next(chunks)
    chunks.close()
    assert len(programmed_ec2.requests) == 1


@pytest.fixture
def settings_of_programmed(programmed_ec2):
    return Settings(ec2_endpoint_url=programmed_ec2.url)


def test_one_page_has_length_and_etag(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: snapshots_page(snapshot_item("snap-12345678"))
    response = client_of_programmed.get(SNAPSHOTS)
    assert int(response.headers["Content-Length"]) == len(response.body)
    assert response.headers["ETag"]


def test_empty_list(client_of_programmed, programmed_ec2, xml):
    programmed_ec2.respond = lambda request: snapshots_page("")
    assert len(xml(client_of_programmed.get(SNAPSHOTS))) == 0
    assert client_of_programmed.get(f"{SNAPSHOTS}?format=json").json == {"storage_snapshots": []}


@pytest.mark.parametrize("format", ["xml", "json", "html"])
def test_list_that_fails_in_its_middle_is_never_well_formed(
    client_of_programmed, programmed_ec2, format
):
    def respond(request):
        if "NextToken" in request.parameters:
            return refusal("AuthFailure", 401)
        return snapshots_page(snapshot_item("snap-12345678"), "more")

    programmed_ec2.respond = respond
    with pytest.raises(ConnectionError):
        client_of_programmed.get(f"{SNAPSHOTS}?format={format}")


def test_list_whose_pages_repeat_is_broken_off(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: snapshots_page("", "again")
    with pytest.raises(ConnectionError):
        client_of_programmed.get(SNAPSHOTS)
    assert len(programmed_ec2.requests) == 2


def test_error_of_the_first_page_has_its_status(client_of_programmed, programmed_ec2):
    programmed_ec2.respond = lambda request: refusal("UnauthorizedOperation", 403)
    client_of_programmed.get(SNAPSHOTS, status=403)


def test_without_owners_every_snapshot_is_asked_for(client_of_programmed, programmed_ec2):
    client_of_programmed.get(SNAPSHOTS)
    [request] = programmed_ec2.requests
    assert request.action == "DescribeSnapshots"
    assert not any(name.startswith(("Owner", "Filter")) for name in request.parameters)


@pytest.mark.parametrize(
    ("owner", "asked"),
    [
        ("self", {"Owner.1": "self"}),
        ("123456789012", {"Owner.1": "123456789012"}),
        ("amazon,self", {"Owner.1": "amazon", "Owner.2": "self"}),
    ],
)
def test_owner_id_filters_on_every_page(client_of_programmed, programmed_ec2, owner, asked):
    programmed_ec2.respond = pages
    client_of_programmed.get(SNAPSHOTS, {"owner_id": owner})
    for request in programmed_ec2.requests:
        owners = {k: v for k, v in request.parameters.items() if k.startswith("Owner")}
        assert owners == asked


def test_owners_of_the_settings_hold_where_the_request_names_none(programmed_ec2):
    client = client_of(Settings(ec2_endpoint_url=programmed_ec2.url, owners=("self",), page_size=7))
    client.get(SNAPSHOTS)
    client.get(SNAPSHOTS, {"owner_id": "amazon"})
    assert [request.parameters["Owner.1"] for request in programmed_ec2.requests] == [
        "self",
        "amazon",
    ]
    assert programmed_ec2.requests[0].parameters["MaxResults"] == "7"


def test_hostile_texts_come_through_unchanged(client_of_programmed, programmed_ec2, xml):
    text = "\t\n]]>\u2028\ufdd0 <b>&amp;'\" \U0001f600"
    item = snapshot_item("snap-12345678", description=text, name=text + "\ufdd0\ufdd0")
    programmed_ec2.respond = lambda request: snapshots_page(item + snapshot_item("snap-00000002"))
    [first, second] = xml(client_of_programmed.get(SNAPSHOTS))
    assert first.findtext("description") == text
    assert first.findtext("name") == text + "\ufdd0\ufdd0"
    assert second.get("id") == "snap-00000002"
    [first, _] = client_of_programmed.get(f"{SNAPSHOTS}?format=json").json["storage_snapshots"]
    assert first["description"] == text


def test_carriage_return_comes_through_unchanged(client_of_programmed, programmed_ec2, xml):
    item = snapshot_item("snap-12345678", description="ANY").replace("ANY", "a&#13;b")
    programmed_ec2.respond = lambda request: snapshots_page(item)
    [snapshot] = xml(client_of_programmed.get(SNAPSHOTS))
    assert snapshot.findtext("description") == "a\rb"
