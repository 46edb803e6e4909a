"""Two replicas behind HAProxy: they add up, and one may die without a lost read."""

import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest
from lxml import etree

from tests.live.servers import Server, children, free_port, gunicorn, wait_until
from tests.live.test_gunicorn import AUTHORIZATION, THREADS
from tests.programmed_ec2 import ProgrammedEC2, snapshot_item, snapshots_page

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
SHOW = "/api/storage_snapshots/snap-12345678"

pytestmark = pytest.mark.skipif(
    HAPROXY is None and not os.environ.get("CI"), reason="needs Debian's package haproxy"
)

CONFIGURATION = """
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    option redispatch 1
    retries 5
    retry-on conn-failure empty-response response-timeout

frontend deltacloud
    bind 127.0.0.1:{port}
    default_backend replicas

backend replicas
    # A create that may have arrived must not be sent again.
    http-request disable-l7-retry if METH_POST
    option httpchk GET /api
    timeout check 5s
    default-server check inter 500ms fall 2 rise 1
    server one 127.0.0.1:{one}
    server two 127.0.0.1:{two}
"""


@contextmanager
def haproxy(folder, one, two):
    port = free_port()
    configuration = folder / "haproxy.cfg"
    configuration.write_text(CONFIGURATION.format(port=port, one=one, two=two))
    log = folder / "haproxy.log"
    with open(log, "w") as output:
        process = subprocess.Popen(
            [HAPROXY, "-db", "-f", configuration], stdout=output, stderr=output
        )
    try:
        server = Server(process, port, log)
        wait_until(lambda: answers(server), "HAProxy to answer")
        yield server
    finally:
        process.terminate()
        process.wait(10)


def answers(server):
    try:
        return server.get("/api")[0].status == 200
    except OSError:
        return False


@pytest.fixture
def replicas(tmp_path):
    """Two replicas, each with an EC2 of its own that counts, and HAProxy before them."""
    with ProgrammedEC2() as first, ProgrammedEC2() as second:
        for ec2 in (first, second):
            ec2.respond = lambda request: snapshots_page(snapshot_item("snap-12345678"))
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        with (
            gunicorn(tmp_path / "one", first.url, *THREADS) as one,
            gunicorn(tmp_path / "two", second.url, *THREADS) as two,
            haproxy(tmp_path, one.port, two.port) as front,
        ):
            yield front, (one, two), (first, second)


def read(front):
    headers = {"Authorization": AUTHORIZATION, "Host": "deltacloud.example.org"}
    response, body = front.get(SHOW, headers)
    return response.status, etree.fromstring(body).get("href")


def test_replicas_add_up_and_give_out_the_public_name(replicas):
    front, _, ec2s = replicas
    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(lambda _: read(front), range(100)))
    assert seen == {(200, f"http://deltacloud.example.org{SHOW}")}
    served = [len(ec2.requests) for ec2 in ec2s]
    assert sum(served) == 100
    assert min(served) > 20


def test_replica_that_dies_loses_no_read(replicas):
    front, (one, _), (first, _) = replicas
    died = Event()

    def answer_too_late(request):
        died.wait(30)
        return snapshots_page("")

    first.respond = answer_too_late
    with ThreadPoolExecutor(8) as pool:
        reads = [pool.submit(read, front) for _ in range(8)]
        wait_until(lambda: first.requests, "the replica to be at work")
        workers = children(one.process.pid)
        one.process.kill()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        died.set()
        reads += [pool.submit(read, front) for _ in range(100)]
        seen = {future.result() for future in reads}
    assert seen == {(200, f"http://deltacloud.example.org{SHOW}")}
