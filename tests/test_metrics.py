"""What those who watch see: health, and figures that count what happened."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dcproxy.settings import Settings
from tests.conftest import client_of
from tests.programmed_ec2 import refusal, snapshot_item, snapshots_page

SNAPSHOTS = "/api/storage_snapshots"


def figures(client):
    response = client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


@pytest.fixture
def grown(client_of_programmed):
    """How much each figure has grown since the test began."""
    before = figures(client_of_programmed)

    def since(*key):
        return figures(client_of_programmed).get(key, 0) - before.get(key, 0)

    return since


def test_health_asks_for_nothing_and_nobody(client_of_programmed, programmed_ec2):
    client_of_programmed.authorization = None
    assert client_of_programmed.get("/healthz", status=200).text == "ok\n"
    assert programmed_ec2.requests == []


def test_requests_are_counted_by_operation_and_status(client_of_programmed, grown):
    client_of_programmed.get(SNAPSHOTS)
    client_of_programmed.get(f"{SNAPSHOTS}/x", status=404)
    client_of_programmed.get("/nowhere", status=404)
    assert grown("dcproxy_requests_total", "200", "storage_snapshots.index") == 1
    assert grown("dcproxy_requests_total", "404", "storage_snapshots.show") == 1
    assert grown("dcproxy_requests_total", "404", "none") == 1
    assert grown("dcproxy_request_duration_seconds_count", "storage_snapshots.index") == 1


def test_calls_of_ec2_and_their_retries_are_counted(client_of_programmed, programmed_ec2, grown):
    answers = [refusal("InternalError", 500), snapshots_page("")]
    programmed_ec2.respond = lambda request: answers.pop(0)
    client_of_programmed.get(SNAPSHOTS)
    programmed_ec2.respond = lambda request: refusal("UnauthorizedOperation", 403)
    client_of_programmed.get(SNAPSHOTS, status=403)
    assert grown("dcproxy_ec2_requests_total", "describe_snapshots", "ok") == 1
    assert grown("dcproxy_ec2_requests_total", "describe_snapshots", "refused") == 1
    assert grown("dcproxy_ec2_retries_total") == 1


def test_lists_that_break_off_are_counted(client_of_programmed, programmed_ec2, grown):
    programmed_ec2.respond = lambda request: (
        refusal("AuthFailure", 401)
        if "NextToken" in request.parameters
        else snapshots_page(snapshot_item("snap-12345678"), "more")
    )
    with pytest.raises(ConnectionError):
        client_of_programmed.get(SNAPSHOTS)
    assert grown("dcproxy_lists_broken_total") == 1


def test_version_is_told(client_of_programmed):
    assert any(key[0] == "dcproxy_build_info" for key in figures(client_of_programmed))


def test_addresses_can_be_moved_or_turned_off(programmed_ec2):
    client = client_of(Settings(ec2_endpoint_url=programmed_ec2.url, health="/up", metrics=None))
    client.get("/up", status=200)
    client.get("/healthz", status=404)
    client.get("/metrics", status=404)


def test_answer_without_a_body_is_counted_as_what_it_was(client_of_programmed, grown):
    tag = client_of_programmed.get("/api").headers["ETag"]
    client_of_programmed.get("/api", headers={"If-None-Match": tag}, status=304)
    assert grown("dcproxy_requests_total", "304", "entry_point.show") == 1
