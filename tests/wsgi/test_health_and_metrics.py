"""The health and metrics endpoints."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.addresses import SNAPSHOTS
from tests.support.ec2_responses import EC2Response, error_response, snapshots_page
from tests.support.package import EC2_CALL
from tests.support.responders import always, in_turn, second_page_fails
from tests.wsgi.conftest import metrics_of

INDEX = "storage_snapshots.index"


def test_check_needs_no_credentials_and_does_not_call_ec2(programmed_client, programmed_ec2):
    programmed_client.authorization = None
    assert programmed_client.get("/healthz", status=200).text == "ok\n"
    assert programmed_ec2.requests == []


def test_requests_are_counted_by_operation_and_status(programmed_client, increase_of):
    programmed_client.get(SNAPSHOTS)
    programmed_client.get(f"{SNAPSHOTS}/x", status=404)
    programmed_client.get("/nowhere", status=404)
    assert increase_of("dcproxy_requests_total", "200", "ok", "storage_snapshots.index") == 1
    assert increase_of("dcproxy_requests_total", "404", "refused", "storage_snapshots.show") == 1
    assert increase_of("dcproxy_requests_total", "404", "none", "refused") == 1
    assert increase_of("dcproxy_request_duration_seconds_count", "storage_snapshots.index") == 1


def test_series_of_alerts_exist_before_their_first_event(programmed_client):
    existing = metrics_of(programmed_client).keys()
    for operation in ("storage_snapshots.create", "storage_volumes.attach", "none"):
        for labels in (("502", "refused"), ("401", "refused"), ("500", "failed")):
            assert ("dcproxy_requests_total", *sorted([operation, *labels])) in existing
    assert ("dcproxy_ec2_requests_total", "CreateSnapshot", "throttled") in existing
    assert ("dcproxy_requests_over_capacity_total", "key") in existing


def test_ec2_calls_and_retries_are_counted(programmed_client, programmed_ec2, increase_of):
    programmed_ec2.respond = in_turn(error_response("InternalError", 500), snapshots_page(""))
    programmed_client.get(SNAPSHOTS)
    programmed_ec2.respond = always(error_response("UnauthorizedOperation", 403))
    programmed_client.get(SNAPSHOTS, status=502)
    assert increase_of("dcproxy_ec2_requests_total", "DescribeSnapshots", "ok") == 1
    assert increase_of("dcproxy_ec2_requests_total", "DescribeSnapshots", "refused") == 1
    assert increase_of("dcproxy_ec2_retries_total") == 1


def test_aborted_lists_are_counted(programmed_client, programmed_ec2, increase_of):
    programmed_ec2.respond = second_page_fails()
    with pytest.raises(ConnectionError):
        programmed_client.get(SNAPSHOTS)
    assert increase_of("dcproxy_lists_broken_total") == 1


def test_parser_of_prometheus_reads_the_metrics(programmed_client):
    parsed = {
        (sample.name, *sorted(sample.labels.values()))
        for family in text_string_to_metric_families(programmed_client.get("/metrics").text)
        for sample in family.samples
    }
    assert ("dcproxy_requests_over_capacity_total", "key") in parsed
    assert parsed == metrics_of(programmed_client).keys()


@pytest.mark.parametrize("version", ["1.x", "abc", "9.9.9"])
@pytest.mark.parametrize("type", ["text/plain", "application/openmetrics-text"])
def test_accept_of_a_client_does_not_disturb_the_metrics(programmed_client, type, version):
    response = programmed_client.get("/metrics", headers={"Accept": f"{type};version={version}"})
    assert response.content_type == "text/plain"
    assert "dcproxy_build_info" in response.text


def test_metrics_report_the_version(programmed_client):
    assert any(key[0] == "dcproxy_build_info" for key in metrics_of(programmed_client))


def test_health_and_metrics_paths_are_configurable(client_with):
    client = client_with(health="/up", metrics=None)
    client.get("/up", status=200)
    client.get("/healthz", status=404)
    client.get("/metrics", status=404)


def test_response_304_is_counted_with_its_status_and_operation(programmed_client, increase_of):
    tag = programmed_client.get("/api").headers["ETag"]
    programmed_client.get("/api", headers={"If-None-Match": tag}, status=304)
    assert increase_of("dcproxy_requests_total", "304", "entry_point.show", "ok") == 1


@pytest.mark.parametrize(
    ("response", "status", "result"),
    [
        (error_response("UnauthorizedOperation", 403), "502", "refused"),
        (error_response("InvalidSnapshot.InUse"), "502", "refused"),
        (error_response("AuthFailure", 401), "401", "refused"),
        (error_response("InternalError", 500), "502", "failed"),
        (error_response("RequestLimitExceeded", 503), "502", "refused"),
        (error_response("RequestExpired"), "502", "failed"),
        (EC2Response(b"<html>Forbidden</html>", 403), "502", "failed"),
    ],
)
def test_refusals_are_counted_apart_from_failures(
    programmed_client, programmed_ec2, increase_of, response, status, result
):
    programmed_ec2.respond = always(response)
    programmed_client.get(SNAPSHOTS, status=int(status))
    counted = {
        other: increase_of("dcproxy_requests_total", *sorted([status, other, INDEX]))
        for other in ("ok", "refused", "failed")
    }
    assert counted == {"ok": 0, "refused": 0, "failed": 0, result: 1}


def test_defect_is_counted_as_failed(programmed_client, increase_of, monkeypatch):
    monkeypatch.setattr(EC2_CALL, None)
    programmed_client.get(SNAPSHOTS, status=500)
    assert increase_of("dcproxy_requests_total", "500", "failed", INDEX) == 1
