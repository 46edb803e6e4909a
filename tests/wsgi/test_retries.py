"""What is repeated when EC2 throttles or fails, how often, and after which delays."""

from random import Random

import pytest

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.application import RUNTIME, client_of
from tests.support.callers import CALLER, register_caller
from tests.support.creation import DENIED, FAILED, THROTTLED
from tests.support.ec2_responses import (
    EC2Response,
    deleted_response,
    error_response,
    snapshot_item,
    snapshots_page,
)
from tests.support.package import Settings, application
from tests.support.responders import always, in_turn

THROTTLED_CALLER = register_caller("AKIDTHROTTLED", "secret")
FOUND = snapshots_page(snapshot_item("snap-12345678"))
NOT_FOUND = error_response("InvalidSnapshot.NotFound")


class LongestDelays(Random):
    def uniform(self, a, b):
        return b


def test_throttled_caller_does_not_use_up_the_retries_of_others(client_with, programmed_ec2):
    """The retry quota of botocore, which all callers of a region would share, is not in use."""
    client = client_with(retry_attempts=7, deadline=3600)
    programmed_ec2.respond = always(THROTTLED)
    client.authorization = ("Basic", THROTTLED_CALLER)
    for _ in range(9):  # 108 repetitions of reads and creates: botocore's quota is 100
        client.get(SNAPSHOT, status=502)
        client.post(SNAPSHOTS, {"volume_id": "vol-12345678"}, status=502)
    programmed_ec2.respond = in_turn(THROTTLED, FOUND)
    client.authorization = ("Basic", CALLER)
    client.get(SNAPSHOT, status=200)


@pytest.mark.parametrize("attempts", [1, 2, 5])
@pytest.mark.parametrize("fault", [THROTTLED, FAILED])
def test_retry_attempts_limit_the_requests_of_a_call(client_with, programmed_ec2, attempts, fault):
    programmed_ec2.respond = always(fault)
    client_with(retry_attempts=attempts).get(SNAPSHOT, status=502)
    assert len(programmed_ec2.requests) == attempts


@pytest.mark.parametrize("method", ["get", "delete"])
def test_refused_call_is_not_repeated(programmed_client, programmed_ec2, method):
    programmed_ec2.respond = always(DENIED)
    response = getattr(programmed_client, method)(SNAPSHOT, status=502)
    assert "UnauthorizedOperation" in response.lxml.findtext("message")
    assert len(programmed_ec2.requests) == 1


def test_refusal_after_a_failure_is_not_repeated(programmed_client, programmed_ec2):
    programmed_ec2.respond = in_turn(FAILED, DENIED)
    response = programmed_client.get(SNAPSHOT, status=502)
    assert "UnauthorizedOperation" in response.lxml.findtext("message")
    assert len(programmed_ec2.requests) == 2


def test_longest_delays_double_up_to_eight_seconds(programmed_ec2, sleeps):
    programmed_ec2.respond = always(THROTTLED)
    settings = Settings(ec2_endpoint_url=programmed_ec2.url, retry_attempts=7, deadline=3600)
    app = application(settings, RUNTIME._replace(random=LongestDelays()))
    client_of(app).get(SNAPSHOT, status=502)
    assert sleeps == [1, 2, 4, 8, 8, 8]


def test_delays_are_random(programmed_client, programmed_ec2, sleeps):
    programmed_ec2.respond = always(THROTTLED)
    for _ in range(3):
        programmed_client.get(SNAPSHOT, status=502)
    assert len(set(sleeps)) == 6
    assert all(0 <= delay <= 2 for delay in sleeps)


def test_delete_whose_earlier_response_was_lost_is_204(programmed_client, programmed_ec2):
    programmed_ec2.respond = in_turn(FAILED, NOT_FOUND)
    programmed_client.delete(SNAPSHOT, status=204)


def test_delete_whose_lost_response_was_not_the_last_one_is_204(programmed_client, programmed_ec2):
    programmed_ec2.respond = in_turn(FAILED, THROTTLED, NOT_FOUND)
    programmed_client.delete(SNAPSHOT, status=204)


def test_show_after_a_lost_response_of_an_unknown_snapshot_is_404(
    programmed_client, programmed_ec2
):
    programmed_ec2.respond = in_turn(FAILED, NOT_FOUND)
    programmed_client.get(SNAPSHOT, status=404)


def with_request_id(response, id):
    header = ("x-amzn-RequestId", id)
    return EC2Response(response.body, response.status, (*response.headers, header))


def test_log_line_contains_the_request_ids_of_all_attempts(
    programmed_client, programmed_ec2, caplog
):
    caplog.set_level("INFO", "dcproxy.requests")
    programmed_ec2.respond = in_turn(
        with_request_id(THROTTLED, "one"),
        with_request_id(FAILED, "two"),
        with_request_id(FOUND, "three"),
    )
    programmed_client.get(SNAPSHOT, status=200)
    assert caplog.records[-1].ec2_request_ids == ["one", "two", "three"]
    assert caplog.records[-1].retries == 2


@pytest.mark.parametrize(("fault", "result"), [(THROTTLED, "throttled"), (FAILED, "failed")])
def test_repeated_call_is_counted_once_and_its_retries_apart(
    programmed_client, programmed_ec2, increase_of, fault, result
):
    programmed_ec2.respond = always(fault)
    programmed_client.delete(SNAPSHOT, status=502)
    assert increase_of("dcproxy_ec2_requests_total", "DeleteSnapshot", result) == 1
    assert increase_of("dcproxy_ec2_retries_total") == 2


def test_call_that_succeeds_at_last_is_counted_as_ok_only(
    programmed_client, programmed_ec2, increase_of
):
    programmed_ec2.respond = in_turn(THROTTLED, deleted_response())
    programmed_client.delete(SNAPSHOT, status=204)
    assert increase_of("dcproxy_ec2_requests_total", "DeleteSnapshot", "ok") == 1
    assert increase_of("dcproxy_ec2_requests_total", "DeleteSnapshot", "throttled") == 0


def test_each_page_of_a_list_has_its_own_attempts(client_with, programmed_ec2):
    programmed_ec2.respond = in_turn(
        FAILED,
        snapshots_page(snapshot_item("snap-11111111"), "more"),
        FAILED,
        snapshots_page(snapshot_item("snap-22222222")),
    )
    assert "snap-22222222" in client_with(retry_attempts=2).get(SNAPSHOTS, status=200)
