"""Faults of EC2: no snapshot is duplicated or lost, no request hangs, forms need no EC2."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

from lxml import etree

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.ec2_responses import error_response
from tests.support.fault_proxy import fault_proxy, fired
from tests.support.servers import gunicorn

CALLERS = 16
REQUESTS = 80


def test_faults_neither_duplicate_nor_lose_a_snapshot(tmp_path, moto_url, ec2, volume_id):
    with fault_proxy(tmp_path, moto_url) as url:
        threads = ("--worker-class=gthread", "--threads=32")
        with gunicorn(tmp_path, url, *threads) as server:
            started = time.monotonic()
            with ThreadPoolExecutor(CALLERS) as pool:
                outcomes = list(
                    pool.map(lambda n: create_read_delete(server, n, volume_id), range(REQUESTS))
                )
            log = server.log.read_text()
        assert fired(url).count(b'"rule_id"') > REQUESTS / 10
    assert "Traceback" not in log
    created = [id for outcome in outcomes for id in outcome["created"]]
    deleted = {id for outcome in outcomes for id in outcome["deleted"]}
    unknown_deletes = {id for outcome in outcomes for id in outcome["unknown_deletes"]}
    assert len(created) == len(set(created))
    found = ec2.describe_snapshots(Filters=[{"Name": "volume-id", "Values": [volume_id]}])
    # Where polling failed too, the response said so and named the tag.
    unknown_creates = {tag for outcome in outcomes for tag in outcome["unknown_creates"]}
    assert len(unknown_creates) < REQUESTS / 10
    existing = {
        snapshot["SnapshotId"]
        for snapshot in found["Snapshots"]
        if not unknown_creates & {tag["Value"] for tag in snapshot["Tags"]}
    }
    assert existing - unknown_deletes == set(created) - deleted - unknown_deletes
    assert time.monotonic() - started < 300, "a request hung"


def create_read_delete(server, number, volume_id):
    """Create a snapshot, read it, delete it if ``number`` is odd; report the outcomes by id."""
    outcome = {"created": [], "deleted": [], "unknown_deletes": [], "unknown_creates": []}
    status, body = send(server, "POST", f"{SNAPSHOTS}?volume_id={volume_id}&name=n{number}")
    assert status in {201, 502}, (status, body)
    if status == 502:
        outcome["unknown_creates"] = re.findall(
            r"look for the tag dcproxy:create=(\w+)", body.decode()
        )
        return outcome
    id = etree.fromstring(body).get("id")
    outcome["created"].append(id)
    status, body = send(server, "GET", f"{SNAPSHOTS}/{id}")
    assert status in {200, 502}, (status, body)
    if status == 200:
        assert etree.fromstring(body).findtext("name") == f"n{number}"
    if number % 2:
        status, body = send(server, "DELETE", f"{SNAPSHOTS}/{id}")
        assert status in {204, 502}, (status, body)
        outcome["deleted" if status == 204 else "unknown_deletes"].append(id)
    return outcome


def send(server, method, address):
    response, body = server.get(address, {"Authorization": AUTHORIZATION}, method=method)
    return response.status, body


def test_form_does_not_wait_for_a_slow_list_of_volumes(server, programmed_ec2):
    is_shown = Event()
    waits = []

    def respond(request):
        waits.append(is_shown.wait(20))
        return error_response("InternalError", 500)

    programmed_ec2.respond = respond
    headers = {"Authorization": AUTHORIZATION, "Accept": "text/html"}
    response, body = server.get(f"{SNAPSHOTS}/new", headers)
    assert not waits
    is_shown.set()
    assert response.status == 200
    assert b"volume_id" in body
