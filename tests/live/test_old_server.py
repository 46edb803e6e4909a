"""HAProxy and nginx of ``deploy/`` with an old server beside dcproxy."""

import pytest

from tests.support import balancers
from tests.support.addresses import SNAPSHOTS
from tests.support.balancers import replicas
from tests.support.callers import AUTHORIZATION
from tests.support.divided_requests import DRIVER, FOR_DCPROXY, FOR_OLD_SERVER
from tests.support.ec2_responses import snapshots_page
from tests.support.ec2_server import EC2Server
from tests.support.old_server import STATUS, running_old_server
from tests.support.responders import always

# No client sends these. A balancer refuses what it cannot read.
REFUSED = [
    "/api/a/b/c/d/../../../../storage_snapshots",
    "/../api/storage_snapshots",
    "/api/x/..;y=1/storage_snapshots",
    "/api/docs/..;/storage_snapshots",
    "/x/../../api//storage_snapshots",
]


@pytest.fixture(scope="module")
def ec2():
    with EC2Server() as server:
        server.program().respond = always(snapshots_page(""))
        yield server


@pytest.fixture(scope="module")
def old():
    with running_old_server() as server:
        yield server


@pytest.fixture(scope="module", params=[balancers.haproxy, balancers.nginx])
def front(request, ec2, old, tmp_path_factory):
    folder = tmp_path_factory.mktemp("divided")
    with (
        replicas(folder, ec2.url) as [replica],
        request.param(folder, [replica.port] * 2, old_server=old.server_port) as balancer,
    ):
        yield balancer


@pytest.mark.parametrize(("method", "target", "headers"), FOR_DCPROXY)
def test_requests_for_snapshots_of_ec2_reach_dcproxy(front, method, target, headers):
    response, _ = front.get(target, {"Authorization": AUTHORIZATION} | headers, method=method)
    assert response.headers["Via"] == "1.1 dcproxy"


@pytest.mark.parametrize(("method", "target", "headers"), FOR_OLD_SERVER)
def test_other_requests_reach_the_old_server_unchanged(front, old, method, target, headers):
    old.requests.clear()
    sent = {"Authorization": AUTHORIZATION, "Host": "cloud.example.org", "X-Any": "thing"} | headers
    response, _ = front.get(target, sent, method=method)
    [request] = old.requests
    assert response.status == STATUS
    assert request.requestline.split()[:2] == [method, target]
    for name, value in sent.items():
        assert request.headers.get_all(name) == [value]


@pytest.mark.parametrize("target", REFUSED)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_odd_paths_never_reach_the_old_server(front, old, method, target):
    old.requests.clear()
    response, _ = front.get(target, {"Authorization": AUTHORIZATION}, method=method)
    assert old.requests == []
    assert response.status in (400, 404) or "Via" in response.headers


def test_form_of_another_driver_does_not_reach_the_old_server(front, old):
    old.requests.clear()
    headers = {"Authorization": AUTHORIZATION, "Content-Type": "application/x-www-form-urlencoded"}
    body = b"volume_id=vol-12345678&api%5Bdriver%5D=mock"
    response, _ = front.get(SNAPSHOTS, headers, method="POST", body=body)
    assert response.status == 400
    assert old.requests == []


def test_body_for_the_old_server_is_passed_on(front, old):
    body = b"x" * 2_000_000
    response, received = front.get("/api/buckets/a/b", {DRIVER: "mock"}, method="PUT", body=body)
    assert response.status == STATUS
    assert len(received) > len(body)
