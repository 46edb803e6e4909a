"""How many calls of EC2 a worker makes at once, and how many of them for one caller."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore

import pytest
from webob import Request

from tests.support.accounts import password_of, write_account_files
from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.application import RUNTIME, client_of, new_application
from tests.support.callers import CALLER, basic_authorization, register_caller
from tests.support.documents import read_xml
from tests.support.ec2_model import LOST, EC2Model
from tests.support.ec2_responses import error_response, snapshot_item, snapshots_page
from tests.support.package import Runtime, Settings, application
from tests.support.responders import endless_pages
from tests.support.servers import wait_until
from tests.wsgi.conftest import metrics_of

OTHER = register_caller("AKIDOTHER", "other-secret")
THIRD = register_caller("AKIDTHIRD", "third-secret")
SLOTS, SHARE = 4, 2
FOUND = snapshots_page(snapshot_item("snap-12345678"))


class Worker:
    """An application with few slots, whose lists wait for EC2 until ``end``."""

    def __init__(self, ec2, deadline, runtime=RUNTIME):
        self.ec2 = ec2
        settings = Settings(
            ec2_endpoint_url=ec2.url,
            capacity=SLOTS,
            share_per_key=100 * SHARE // SLOTS,
            deadline=deadline,
        )
        self.app = application(settings, runtime)
        self.pool = ThreadPoolExecutor()
        self.answered = Event()
        self.lists = []
        ec2.respond = lambda request: FOUND
        for caller in (CALLER, OTHER, THIRD):
            self.client(caller).get(SNAPSHOT)
        ec2.respond = self._respond

    def _respond(self, request):
        if "SnapshotId.1" not in request.parameters:
            self.answered.wait(30)
        return FOUND

    def client(self, caller=CALLER):
        return client_of(self.app, caller)

    def occupy(self, *callers):
        """Take all slots of callers."""
        before = len(self.ec2.requests)
        for caller in callers * SHARE:
            self.lists.append(self.pool.submit(self.client(caller).get, SNAPSHOTS))
        expected = before + len(callers) * SHARE
        wait_until(lambda: len(self.ec2.requests) == expected, "requests to EC2")

    def end(self):
        self.answered.set()
        return [list.result().status_code for list in self.lists]


@pytest.fixture
def worker(programmed_ec2):
    """Give a worker that waits for a slot for 0.5 s only."""
    worker = Worker(programmed_ec2, deadline=2)
    yield worker
    worker.end()
    worker.pool.shutdown()


@pytest.fixture
def patient(programmed_ec2):
    worker = Worker(programmed_ec2, deadline=40)
    yield worker
    worker.end()
    worker.pool.shutdown()


def test_call_over_the_share_of_its_caller_is_a_502_that_may_be_repeated(worker):
    worker.occupy(CALLER)
    response = worker.client().get(SNAPSHOT, status=502)
    assert response.headers["Retry-After"] == "5"
    message = read_xml(response).findtext("message")
    assert message.startswith("This access key has too many requests in progress.")
    worker.client(OTHER).get(SNAPSHOT, status=200)


def test_call_over_the_slots_of_the_worker_is_a_502_that_may_be_repeated(worker):
    worker.occupy(CALLER, OTHER)
    response = worker.client(THIRD).get(SNAPSHOT, status=502)
    assert response.headers["Retry-After"] == "5"
    message = read_xml(response).findtext("message")
    assert message.startswith("Too many requests are in progress.")


@pytest.mark.parametrize("address", ["/api?force_auth=1", "/api/storage_volumes/new?format=html"])
def test_login_and_form_take_a_slot(worker, address):
    worker.occupy(CALLER)
    before = len(worker.ec2.requests)
    worker.client().get(address, expect_errors=True)
    assert len(worker.ec2.requests) == before


@pytest.mark.parametrize("address", ["/api", "/api/drivers", "/healthz", "/metrics"])
def test_request_that_does_not_call_ec2_needs_no_slot(worker, address):
    worker.occupy(CALLER, OTHER)
    worker.client(THIRD).get(address, status=200)


def test_call_over_a_limit_waits_for_its_turn(patient):
    patient.occupy(CALLER)
    late = patient.pool.submit(patient.client().get, SNAPSHOT)
    assert patient.end() == [200] * SHARE
    assert late.result().status_code == 200


def test_call_over_a_limit_waits_for_a_quarter_of_the_deadline(programmed_ec2):
    worker = Worker(programmed_ec2, deadline=8)
    try:
        worker.occupy(CALLER)
        before = time.monotonic()
        worker.client().get(SNAPSHOT, status=502)
        assert 1 < time.monotonic() - before < 5  # not until the deadline, after 7 s
    finally:
        worker.end()
        worker.pool.shutdown()


def test_slot_is_free_during_the_pause_before_a_retry(patient):
    """Each of many requests at once is answered, although all of them are repeated."""
    patient.ec2.respond = lambda request: error_response("RequestLimitExceeded", 503)
    for _ in range(2 * SLOTS):
        response = patient.client().get(SNAPSHOT, status=502)
        assert "RequestLimitExceeded" in response.lxml.findtext("message")


def test_list_that_is_read_slowly_holds_no_slot(worker):
    worker.ec2.respond = endless_pages
    bodies = []
    for caller in (CALLER, OTHER) * SLOTS:
        headers = {"Authorization": basic_authorization(":".join(caller))}
        request = Request.blank(SNAPSHOTS, headers=headers)
        bodies.append(request.call_application(worker.app)[2])
        assert next(iter(bodies[-1]))
    worker.ec2.respond = lambda request: FOUND
    for caller in (CALLER, THIRD):
        worker.client(caller).get(SNAPSHOT, status=200)
    for body in bodies:
        body.close()


def test_invented_keys_share_the_slots_of_one_caller(worker):
    invented = [register_caller(f"AKIDINVENTED{number}", "secret") for number in range(2 * SLOTS)]
    refused = Event()
    in_progress = Semaphore(0)

    def respond(request):
        if request.access_key_id.startswith("AKIDINVENTED"):
            in_progress.release()
            refused.wait(30)
            return error_response("AuthFailure", 401)
        return FOUND

    worker.ec2.respond = respond
    attacks = [
        worker.pool.submit(worker.client(key).get, SNAPSHOT, expect_errors=True) for key in invented
    ]
    for _ in range(SHARE):
        assert in_progress.acquire(timeout=30)
    worker.client().get(SNAPSHOT, status=200)
    assert not in_progress.acquire(blocking=False)
    statuses = {attack.result().status_code for attack in attacks[SHARE:] if attack.done()}
    assert statuses <= {502}
    refused.set()
    assert {attack.result().status_code for attack in attacks} <= {401, 502}


def test_account_does_not_share_the_slots_of_invented_keys(worker, tmp_path):
    """The first call of an account does not wait for keys that EC2 has never accepted."""
    name, (key_id, secret) = "backup", register_caller("AKIDOFTHEACCOUNT0000", "account-secret")
    keys = f"[profile {name}]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n"
    files = write_account_files(tmp_path, {name: keys})
    options = {"capacity": SLOTS, "share_per_key": 100 * SHARE // SLOTS, "deadline": 2}
    worker.app = new_application(
        ec2_endpoint_url=worker.ec2.url, own_keys=True, **options, **files.options
    )
    worker.occupy(CALLER)  # unknown to the new application
    message = read_xml(worker.client(OTHER).get(SNAPSHOT, status=502)).findtext("message")
    assert message.startswith("This access key has too many requests in progress.")
    worker.client((name, password_of(name))).get(SNAPSHOT, status=200)


@pytest.fixture
def real_time(programmed_ec2):
    worker = Worker(programmed_ec2, deadline=40, runtime=Runtime())
    yield worker
    worker.end()
    worker.pool.shutdown()


def test_look_after_a_lost_create_has_slots_of_its_own(real_time):
    """Others take all slots in the pause before the look, which finds the snapshot all the same."""
    model = EC2Model([(LOST, True)])
    lists_in_progress = Semaphore(0)
    lost_at = []

    def respond(request):
        if request.action == "CreateSnapshot":
            for caller in (CALLER, OTHER) * SHARE:
                real_time.lists.append(
                    real_time.pool.submit(real_time.client(caller).get, SNAPSHOTS)
                )
            for _ in range(SLOTS - 1):
                assert lists_in_progress.acquire(timeout=30)
            lost_at.append(time.monotonic())
            return model(request)
        if request.parameters.get("Filter.1.Name", "").startswith("tag:"):
            return model(request)
        lists_in_progress.release()
        return real_time._respond(request)

    real_time.ec2.respond = respond
    real_time.client(THIRD).post(SNAPSHOTS, {"volume_id": "vol-12345678"}, status=201)
    assert model.actions.count("CreateSnapshot") == 1
    assert time.monotonic() - lost_at[0] < 9  # in the slots of the others, it waits for 10 s
    assert not any(list.done() for list in real_time.lists)


def test_wrong_secret_does_not_use_the_share_of_its_key(worker):
    register_caller(CALLER[0], "wrong-secret")
    worker.occupy((CALLER[0], "wrong-secret"))
    worker.client().get(SNAPSHOT, status=200)


def test_slots_are_free_after_failed_calls(worker):
    worker.ec2.respond = lambda request: error_response("UnauthorizedOperation", 403)
    for _ in range(2 * SLOTS):
        worker.client().get(SNAPSHOT, status=502)
    worker.ec2.respond = lambda request: FOUND
    worker.client().get(SNAPSHOT, status=200)


@pytest.mark.parametrize(
    ("callers", "limit", "result"),
    [((CALLER,), "key", "refused"), ((CALLER, OTHER), "worker", "failed")],
)
def test_calls_that_were_given_up_are_counted_by_limit(worker, callers, limit, result):
    client = worker.client(CALLER if limit == "key" else THIRD)
    worker.occupy(*callers)
    counted = [
        ("dcproxy_requests_over_capacity_total", limit),
        ("dcproxy_requests_total", "502", result, "storage_snapshots.show"),
    ]
    before = metrics_of(client)
    client.get(SNAPSHOT, status=502)
    after = metrics_of(client)
    assert [after[key] - before.get(key, 0) for key in counted] == [1, 1]
