"""A fault proxy between dcproxy and moto: nothing is made twice, lost, or left hanging."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

from lxml import etree

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.fault_proxy import fault_proxy, fired
from tests.support.servers import gunicorn

CALLERS = 8
REQUESTS = 200


def test_faults_neither_duplicate_nor_lose_a_snapshot(tmp_path, moto_url, ec2, volume_id):
    with fault_proxy(tmp_path, moto_url) as url:
        threads = ("--worker-class=gthread", "--threads=16")
        with gunicorn(tmp_path, url, *threads) as server:
            started = time.monotonic()
            with ThreadPoolExecutor(CALLERS) as pool:
                outcomes = list(pool.map(lambda n: work(server, n, volume_id), range(REQUESTS)))
            log = server.log.read_text()
        assert fired(url).count(b'"rule_id"') > REQUESTS / 10
    assert "Traceback" not in log
    made = [id for outcome in outcomes for id in outcome["made"]]
    gone = {id for outcome in outcomes for id in outcome["gone"]}
    unsure = {id for outcome in outcomes for id in outcome["unsure"]}
    assert len(made) == len(set(made))
    found = ec2.describe_snapshots(Filters=[{"Name": "volume-id", "Values": [volume_id]}])
    # Where even the looks failed, the answer said so and named the tag to look for.
    untold = {tag for outcome in outcomes for tag in outcome["untold"]}
    assert len(untold) < REQUESTS / 20
    there = {
        snapshot["SnapshotId"]
        for snapshot in found["Snapshots"]
        if not untold & {tag["Value"] for tag in snapshot["Tags"]}
    }
    assert there - unsure == set(made) - gone - unsure
    assert time.monotonic() - started < 300, "somebody hung"


def work(server, number, volume_id):
    """Make a snapshot, read it, and delete every second one; say what became of it."""
    outcome = {"made": [], "gone": [], "unsure": [], "untold": []}
    status, body = ask(server, "POST", f"{SNAPSHOTS}?volume_id={volume_id}&name=n{number}")
    assert status in {201, 502}, (status, body)
    if status == 502:
        outcome["untold"] = re.findall(r"look for the tag dcproxy:create=(\w+)", body.decode())
        return outcome
    id = etree.fromstring(body).get("id")
    outcome["made"].append(id)
    status, body = ask(server, "GET", f"{SNAPSHOTS}/{id}")
    assert status in {200, 502}, (status, body)
    if status == 200:
        assert etree.fromstring(body).findtext("name") == f"n{number}"
    if number % 2:
        status, body = ask(server, "DELETE", f"{SNAPSHOTS}/{id}")
        assert status in {204, 502}, (status, body)
        outcome["gone" if status == 204 else "unsure"].append(id)
    return outcome


def ask(server, method, address):
    response, body = server.get(address, {"Authorization": AUTHORIZATION}, method=method)
    return response.status, body
