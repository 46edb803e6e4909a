"""Lists of several pages, and the EC2 requests made for them."""

import pytest
from webob import Request

from tests.support.addresses import SNAPSHOTS
from tests.support.application import shared_application
from tests.support.callers import AUTHORIZATION
from tests.support.documents import read_xml
from tests.support.ec2_responses import error_response, snapshot_item, snapshots_page
from tests.support.responders import always, second_page_fails

TOTAL = 2500
IDS = [f"snap-{number:08x}" for number in range(TOTAL)]


def pages(request):
    """Respond with 2,500 snapshots in pages of MaxResults, as EC2 does."""
    start = int(request.parameters.get("NextToken", "0"))
    end = min(start + int(request.parameters["MaxResults"]), TOTAL)
    items = "".join(map(snapshot_item, IDS[start:end]))
    return snapshots_page(items, str(end) if end < TOTAL else "")


def test_three_pages_become_one_xml_document(programmed_client, programmed_ec2):
    programmed_ec2.respond = pages
    root = read_xml(programmed_client.get(SNAPSHOTS))
    assert root.xpath("/storage_snapshots/storage_snapshot/@id") == IDS
    assert len(programmed_ec2.requests) == 3


def test_three_pages_become_one_json_document(programmed_client, programmed_ec2):
    programmed_ec2.respond = pages
    snapshots = programmed_client.get(f"{SNAPSHOTS}?format=json").json["storage_snapshots"]
    assert [snapshot["id"] for snapshot in snapshots] == IDS


def test_three_pages_become_one_html_page(programmed_client, programmed_ec2):
    programmed_ec2.respond = pages
    page = programmed_client.get(f"{SNAPSHOTS}?format=html")
    assert page.lxml.xpath("//tbody[not(@class)]/tr/th//text()") == IDS


def test_empty_pages_do_not_break_the_document(programmed_client, programmed_ec2):
    tokens = {"": "a", "a": "b", "b": "c", "c": ""}

    def respond(request):
        token = request.parameters.get("NextToken", "")
        items = snapshot_item(f"snap-{token * 8}") if token in {"a", "c"} else ""
        return snapshots_page(items, tokens[token])

    programmed_ec2.respond = respond
    response = programmed_client.get(f"{SNAPSHOTS}?format=json")
    assert [snapshot["id"] for snapshot in response.json["storage_snapshots"]] == [
        "snap-aaaaaaaa",
        "snap-cccccccc",
    ]


def test_next_page_is_requested_once_the_previous_one_was_consumed(
    programmed_application, programmed_ec2
):
    programmed_ec2.respond = pages
    request = Request.blank(SNAPSHOTS, authorization=AUTHORIZATION)
    chunks = iter(request.get_response(programmed_application).app_iter)
    counts = []
    for chunk in chunks:
        if b"<storage_snapshot " in chunk:
            counts.append(len(programmed_ec2.requests))
    assert list(dict.fromkeys(counts)) == [1, 2, 3]  # a page has several pieces


def test_closed_list_requests_no_more_pages(programmed_application, programmed_ec2):
    programmed_ec2.respond = pages
    request = Request.blank(SNAPSHOTS, authorization=AUTHORIZATION)
    chunks = request.get_response(programmed_application).app_iter
    next(chunks)
    next(chunks)
    chunks.close()
    assert len(programmed_ec2.requests) == 1


@pytest.fixture
def programmed_application(programmed_ec2):
    return shared_application(ec2_endpoint_url=programmed_ec2.url)


def test_one_page_has_length_and_etag(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
    response = programmed_client.get(SNAPSHOTS)
    assert int(response.headers["Content-Length"]) == len(response.body)
    assert response.headers["ETag"]


def test_empty_list(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page(""))
    assert len(read_xml(programmed_client.get(SNAPSHOTS))) == 0
    assert programmed_client.get(f"{SNAPSHOTS}?format=json").json == {"storage_snapshots": []}


@pytest.mark.parametrize("format", ["xml", "json", "html"])
def test_list_that_fails_midway_is_aborted(programmed_client, programmed_ec2, format):
    programmed_ec2.respond = second_page_fails()
    with pytest.raises(ConnectionError):
        programmed_client.get(f"{SNAPSHOTS}?format={format}")


def test_repeated_next_token_aborts_the_list(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(snapshots_page("", "again"))
    with pytest.raises(ConnectionError):
        programmed_client.get(SNAPSHOTS)
    assert len(programmed_ec2.requests) == 2


def test_error_on_the_first_page_keeps_its_status(programmed_client, programmed_ec2):
    programmed_ec2.respond = always(error_response("UnauthorizedOperation", 403))
    response = programmed_client.get(SNAPSHOTS, status=502)
    assert "UnauthorizedOperation" in read_xml(response).findtext("message")
    programmed_ec2.respond = always(error_response("AuthFailure", 401))
    programmed_client.get(SNAPSHOTS, status=401)


def test_list_without_owners_requests_every_snapshot(programmed_client, programmed_ec2):
    programmed_client.get(SNAPSHOTS)
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
def test_owner_id_is_sent_with_every_page(programmed_client, programmed_ec2, owner, asked):
    programmed_ec2.respond = pages
    programmed_client.get(SNAPSHOTS, {"owner_id": owner})
    for request in programmed_ec2.requests:
        owners = {k: v for k, v in request.parameters.items() if k.startswith("Owner")}
        assert owners == asked


def test_configured_owners_are_the_default(client_with, programmed_ec2):
    client = client_with(owners=("self",), page_size=7)
    client.get(SNAPSHOTS)
    client.get(SNAPSHOTS, {"owner_id": "amazon"})
    assert [request.parameters["Owner.1"] for request in programmed_ec2.requests] == [
        "self",
        "amazon",
    ]
    assert programmed_ec2.requests[0].parameters["MaxResults"] == "7"


def test_hostile_texts_are_unchanged_in_lists(programmed_client, programmed_ec2):
    text = "\t\n]]>\u2028\ufdd0 <b>&amp;'\" \U0001f600"
    item = snapshot_item("snap-12345678", description=text, name=text + "\ufdd0\ufdd0")
    programmed_ec2.respond = always(snapshots_page(item + snapshot_item("snap-00000002")))
    [first, second] = read_xml(programmed_client.get(SNAPSHOTS))
    assert first.findtext("description") == text
    assert first.findtext("name") == text + "\ufdd0\ufdd0"
    assert second.get("id") == "snap-00000002"
    [first, _] = programmed_client.get(f"{SNAPSHOTS}?format=json").json["storage_snapshots"]
    assert first["description"] == text


def test_carriage_return_is_preserved(programmed_client, programmed_ec2):
    item = snapshot_item("snap-12345678", description="ANY").replace("ANY", "a&#13;b")
    programmed_ec2.respond = always(snapshots_page(item))
    [snapshot] = read_xml(programmed_client.get(SNAPSHOTS))
    assert snapshot.findtext("description") == "a\rb"
