"""How many requests may call EC2 at once, and how many of them of one caller."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from webob import Request

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.application import client_of, shared_application
from tests.support.callers import CALLER, basic_authorization, register_caller
from tests.support.documents import read_xml
from tests.support.ec2_responses import snapshot_item, snapshots_page
from tests.support.responders import endless_pages, second_page_fails
from tests.support.servers import wait_until
from tests.wsgi.conftest import metrics_of

OTHER = register_caller("AKIDOTHER", "other-secret")
THIRD = register_caller("AKIDTHIRD", "third-secret")
PLACES = 4
PLACES_PER_KEY = 2


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    monkeypatch.setattr("dcproxy.operations.capacity.MAX_WAIT", 0)


@pytest.fixture
def app(programmed_ec2):
    return shared_application(
        ec2_endpoint_url=programmed_ec2.url,
        capacity=PLACES,
        share_per_key=100 * PLACES_PER_KEY // PLACES,
    )


@pytest.fixture
def occupy(app, programmed_ec2):
    """Let callers wait for EC2 with as many requests as one may have; give a function to end it."""
    answered = Event()
    waiting = []

    def respond(request):
        if "SnapshotId.1" not in request.parameters:
            answered.wait(30)
        return snapshots_page(snapshot_item("snap-12345678"))

    programmed_ec2.respond = respond
    with ThreadPoolExecutor() as pool:

        def start(*callers):
            before = len(programmed_ec2.requests)
            for caller in callers * PLACES_PER_KEY:
                waiting.append(pool.submit(client_of(app, caller).get, SNAPSHOTS))
            expected = before + len(callers) * PLACES_PER_KEY
            wait_until(lambda: len(programmed_ec2.requests) == expected, "requests to EC2")

            def end():
                answered.set()
                return [request.result() for request in waiting]

            return end

        yield start
        answered.set()


def test_caller_over_its_share_gets_a_502_that_may_be_repeated(app, occupy):
    occupy(CALLER)
    response = client_of(app).get(SNAPSHOT, status=502)
    assert response.headers["Retry-After"] == "5"
    message = read_xml(response).findtext("message")
    assert message.startswith("This access key has too many requests in progress.")


def test_caller_over_its_share_does_not_delay_others(app, occupy):
    occupy(CALLER)
    client_of(app, OTHER).get(SNAPSHOT, status=200)


def test_wrong_secret_does_not_use_the_share_of_its_key(app, occupy):
    register_caller(CALLER[0], "wrong-secret")
    occupy((CALLER[0], "wrong-secret"))
    client_of(app).get(SNAPSHOT, status=200)


def test_worker_without_a_free_place_returns_502(app, occupy):
    occupy(CALLER, OTHER)
    response = client_of(app, THIRD).get(SNAPSHOT, status=502)
    assert response.headers["Retry-After"] == "5"
    message = read_xml(response).findtext("message")
    assert message.startswith("Too many requests are in progress.")


def test_places_are_free_after_their_requests(app, occupy):
    end = occupy(CALLER, OTHER)
    assert [response.status_code for response in end()] == [200] * PLACES
    client_of(app, THIRD).get(SNAPSHOT, status=200)
    client_of(app).get(SNAPSHOT, status=200)


def test_request_over_the_share_waits_for_a_place(app, occupy, monkeypatch):
    monkeypatch.setattr("dcproxy.operations.capacity.MAX_WAIT", 30)
    end = occupy(CALLER)
    with ThreadPoolExecutor() as pool:
        late = pool.submit(client_of(app).get, SNAPSHOT)
        end()
        assert late.result().status_code == 200


@pytest.mark.parametrize("address", ["/api", "/api/drivers", f"{SNAPSHOTS}/new?format=html"])
def test_request_that_does_not_call_ec2_needs_no_place(app, occupy, address):
    occupy(CALLER, OTHER)
    client_of(app).get(address, status=200)


def test_check_of_credentials_needs_a_place(app, occupy):
    occupy(CALLER, OTHER)
    client_of(app).get("/api?force_auth=1", status=502)


def open_list(app, caller=CALLER):
    """Request a list; give its body, which is to be read."""
    headers = {"Authorization": basic_authorization(":".join(caller))}
    request = Request.blank(SNAPSHOTS, headers=headers)
    _, _, body = request.call_application(app)
    return body


def test_list_counts_for_its_caller_until_it_is_closed(app, programmed_ec2):
    programmed_ec2.respond = endless_pages
    lists = [open_list(app) for _ in range(PLACES_PER_KEY)]
    for body in lists:
        assert next(iter(body))
    client_of(app).get(SNAPSHOTS, status=502)
    lists[0].close()
    open_list(app).close()
    lists[1].close()


def test_lists_that_are_read_slowly_leave_the_worker_to_others(app, programmed_ec2):
    programmed_ec2.respond = endless_pages
    lists = [open_list(app, caller) for caller in (CALLER, OTHER) * PLACES_PER_KEY]
    for body in lists:
        assert next(iter(body))
    programmed_ec2.respond = lambda request: snapshots_page(snapshot_item("snap-12345678"))
    client_of(app, THIRD).get(SNAPSHOT, status=200)
    for body in lists:
        body.close()


def test_further_page_of_a_list_waits_for_a_place(app, occupy, programmed_ec2):
    respond_late, programmed_ec2.respond = programmed_ec2.respond, endless_pages
    body = open_list(app, THIRD)
    assert next(iter(body))
    programmed_ec2.respond = respond_late
    end = occupy(CALLER, OTHER)
    with ThreadPoolExecutor() as pool:
        rest = pool.submit(b"".join, body)
        end()
        assert b"snap-12345678" in rest.result()
    body.close()


def test_broken_list_frees_its_place(app, programmed_ec2):
    programmed_ec2.respond = second_page_fails()
    for _ in range(PLACES):
        with pytest.raises(ConnectionError):
            client_of(app).get(SNAPSHOTS)


def test_checks_answer_without_a_free_place(app, occupy):
    end = occupy(CALLER, OTHER)
    client = client_of(app, None)
    assert client.get("/healthz", status=200).text == "ok\n"
    assert client.get("/readyz", status=503).text == "at capacity\n"
    client.get("/metrics", status=200)
    end()
    assert client.get("/readyz", status=200).text == "ok\n"


@pytest.mark.parametrize(
    ("callers", "limit", "result"),
    [((CALLER,), "key", "refused"), ((CALLER, OTHER), "worker", "failed")],
)
def test_refused_requests_are_counted_by_limit(app, occupy, callers, limit, result):
    client = client_of(app, CALLER if limit == "key" else THIRD)
    occupy(*callers)
    counted = [
        ("dcproxy_requests_over_capacity_total", limit),
        ("dcproxy_requests_total", "502", result, "storage_snapshots.show"),
    ]
    before = metrics_of(client)
    client.get(SNAPSHOT, status=502)
    after = metrics_of(client)
    assert [after[key] - before.get(key, 0) for key in counted] == [1, 1]
