"""Two replicas behind the balancers of ``deploy/``: public URLs, and no lost request."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import count

import pytest
from lxml import etree

from tests.support import balancers
from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.balancers import replicas
from tests.support.callers import AUTHORIZATION
from tests.support.ec2_responses import snapshot_item, snapshots_page
from tests.support.ec2_server import EC2Server, programmed_ec2_server
from tests.support.responders import always, second_page_fails
from tests.support.servers import LIMIT_SECONDS, children, wait_until

CALLERS = 8
A_SNAPSHOT = snapshots_page(snapshot_item("snap-12345678"))
DELTACLOUD_HEADERS = {
    "Content-Length",
    "Content-Type",
    "Date",
    "ETag",
    "Server",
    "WWW-Authenticate",
    "X-Deltacloud-Driver",
    "X-Deltacloud-Provider",
}


@contextmanager
def balanced_by(balancer, folder):
    """Run two replicas, each with an EC2 server of its own, and a balancer in front of them."""
    with (
        EC2Server() as first,
        EC2Server() as second,
        replicas(folder, first.url, second.url) as both,
        balancer(folder, [replica.port for replica in both]) as front,
    ):
        yield front, both, (first, second)


@pytest.fixture(scope="module", params=[balancers.haproxy, balancers.nginx])
def balanced_servers(request, tmp_path_factory):
    with balanced_by(request.param, tmp_path_factory.mktemp("balanced")) as all:
        yield all


@pytest.fixture
def balanced(balanced_servers):
    """Give a balancer, its two replicas, and the programmed EC2 of each replica."""
    front, both, servers = balanced_servers
    ec2s = [server.program() for server in servers]
    for ec2 in ec2s:
        ec2.respond = always(A_SNAPSHOT)
    return front, both, ec2s


def read(front):
    headers = {"Authorization": AUTHORIZATION, "Host": "cloud.example.org"}
    response, body = front.get(SNAPSHOT, headers)
    return response.status, etree.fromstring(body).get("href")


def test_replicas_share_the_load_and_return_public_urls(balanced):
    front, _, ec2s = balanced
    with ThreadPoolExecutor(CALLERS) as pool:
        seen = set(pool.map(lambda _: read(front), range(100)))
    assert seen == {(200, f"http://cloud.example.org{SNAPSHOT}")}
    served = [len(ec2.requests) for ec2 in ec2s]
    assert sum(served) == 100
    assert min(served) > 20


def test_links_of_a_client_with_tls_are_https(balanced):
    front, _, _ = balanced
    connection = front.connect_by_tls()
    connection.request("GET", "/api", headers={"Host": "cloud.example.org"})
    links = etree.fromstring(connection.getresponse().read()).xpath("link/@href")
    connection.close()
    assert links
    assert all(link.startswith("https://cloud.example.org/api/") for link in links)


def test_forged_forwarded_headers_are_ignored(balanced):
    front, _, _ = balanced
    forged = {
        "X-Forwarded-Host": "evil.example.org",
        "X-Forwarded-Proto": "evil",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Port": "666",
        "X-Forwarded-For": "192.0.2.1",
    }
    _, body = front.get("/api", forged)
    assert all(
        link.startswith(f"http://127.0.0.1:{front.port}/api/")
        for link in etree.fromstring(body).xpath("link/@href")
    )


def test_balancer_keeps_the_server_header(balanced):
    front, _, _ = balanced
    assert front.get("/api")[0].headers["Server"] == "Apache-Deltacloud/1.1.3"


def test_balancer_keeps_the_case_of_header_names(balanced):
    front, _, _ = balanced
    headers = {"X-Deltacloud-Provider": "us-east-1"}
    seen = set()
    for address in ("/api", SNAPSHOTS):
        seen |= set(front.get(address, headers)[0].headers.keys())
    assert seen >= DELTACLOUD_HEADERS


def test_aborted_list_is_not_completed_by_the_balancer(balanced):
    front, _, ec2s = balanced
    for ec2 in ec2s:
        ec2.respond = second_page_fails()
    with pytest.raises((HTTPException, OSError)):
        front.get(SNAPSHOTS, {"Authorization": AUTHORIZATION})


@pytest.mark.parametrize("balancer", [balancers.haproxy, balancers.nginx])
def test_no_read_fails_when_a_replica_dies(balancer, tmp_path):
    died = threading.Event()

    def respond_late(request):
        died.wait(LIMIT_SECONDS)
        return snapshots_page("")

    with (
        balanced_by(balancer, tmp_path) as (front, (one, _), servers),
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        first, second = (server.program() for server in servers)
        first.respond, second.respond = respond_late, always(A_SNAPSHOT)
        reads = [pool.submit(read, front) for _ in range(CALLERS)]
        wait_until(lambda: first.requests, "the replica to be at work")
        master = one.server.process
        workers = children(master.pid)
        master.kill()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        died.set()
        reads += [pool.submit(read, front) for _ in range(100)]
        seen = {future.result() for future in reads}
    assert seen == {(200, f"http://cloud.example.org{SNAPSHOT}")}


def restart(replica):
    replica.stop()
    replica.start()


def reload(replica):
    master = replica.server.process
    old = set(children(master.pid))
    master.send_signal(signal.SIGHUP)
    wait_until(lambda: not old & set(children(master.pid)), "the old workers to end")


@pytest.mark.parametrize(
    ("balancer", "roll"),
    [(balancers.haproxy, restart), (balancers.nginx, restart), (balancers.haproxy, reload)],
)
def test_rolling_upgrade_under_load_fails_no_read_and_loses_or_duplicates_no_create(
    tmp_path, balancer, roll, moto_url, ec2, volume_id, snapshot_id
):
    done = threading.Event()
    numbers = count()

    def call(caller):
        """Read and create, one connection a request or kept alive, until the roll is done."""
        outcomes = []
        connection = front.connect()
        while not done.is_set():
            number = next(numbers)
            if caller % 2:
                connection.close()
            outcomes.append(send(connection, "GET", f"{SNAPSHOTS}/{snapshot_id}"))
            outcomes.append(send(connection, "GET", f"{SNAPSHOTS}?owner_id=self"))
            name = f"name=roll-{number}"
            outcomes.append(send(connection, "POST", f"{SNAPSHOTS}?volume_id={volume_id}&{name}"))
            if number % 2 and outcomes[-1][0] == 201:
                id = outcomes[-1][1]
                status, _ = send(connection, "DELETE", f"{SNAPSHOTS}/{id}")
                outcomes.append((status, id))
        connection.close()
        return outcomes

    with (
        replicas(tmp_path, moto_url, moto_url) as both,
        balancer(tmp_path, [replica.port for replica in both]) as front,
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        calls = [pool.submit(call, caller) for caller in range(CALLERS)]
        try:
            for replica in both:
                roll(replica)
        finally:
            done.set()
        outcomes = [outcome for future in calls for outcome in future.result()]
    assert [outcome for outcome in outcomes if outcome[0] not in (200, 201, 204)] == []
    created = [id for status, id in outcomes if status == 201]
    deleted = {id for status, id in outcomes if status == 204}
    found = ec2.describe_snapshots(Filters=[{"Name": "volume-id", "Values": [volume_id]}])
    there = [snapshot["SnapshotId"] for snapshot in found["Snapshots"]]
    assert len(created) > CALLERS
    assert deleted
    assert sorted([*there, *deleted]) == sorted([*created, snapshot_id])


def send(connection: HTTPConnection, method, address):
    try:
        connection.request(method, address, headers={"Authorization": AUTHORIZATION})
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        connection.close()
        return method, repr(error)
    has_id = response.status in (200, 201)
    return response.status, etree.fromstring(body).get("id") if has_id else body


def test_graceful_stop_completes_a_running_list_and_refuses_new_connections(tmp_path):
    release = threading.Event()
    with programmed_ec2_server() as ec2:

        def respond(request):
            if "NextToken" not in request.parameters:
                return snapshots_page(snapshot_item("snap-11111111"), "more")
            release.wait(2 * LIMIT_SECONDS)
            return snapshots_page(snapshot_item("snap-22222222"))

        ec2.respond = respond
        with replicas(tmp_path, ec2.url) as [replica]:
            connection = replica.server.connect()
            connection.request("GET", SNAPSHOTS, headers={"Authorization": AUTHORIZATION})
            response = connection.getresponse()
            replica.server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses(replica.server), "new connections to be refused")
            release.set()
            ids = etree.fromstring(response.read()).xpath("*/@id")
            connection.close()
            assert replica.server.process.wait(LIMIT_SECONDS) == 0
    assert ids == ["snap-11111111", "snap-22222222"]


def refuses(server):
    try:
        server.get("/healthz")
    except ConnectionError:
        return True
    return False
