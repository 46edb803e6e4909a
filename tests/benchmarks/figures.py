"""One function a figure: each measures both sides of a ratio in turns and gives the medians.

CPU is that of gunicorn's worker; the references run in this process. Both sides take turns,
request by request, so that both find the machine's caches and clock in the same state.
"""

import json
import socket
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from lxml import etree

from tests.benchmarks.servers import dcproxy, empty
from tests.support import instant_ec2
from tests.support.accounts import password_of, write_account_files
from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION, basic_authorization
from tests.support.moto import native_client

LIST = SNAPSHOTS
ONE = f"{LIST}/{instant_ec2.ONE_ID}"
LONG_LIST_PAGES = 200


class Figure(NamedTuple):
    """What was measured: ``value`` is compared with ``limit``, at most or at least."""

    name: str
    value: float
    limit: float
    unit: str = "x"
    at_least: bool = False
    spread: tuple[float, float] | None = None

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def own_cpu(action):
    before = time.process_time()
    action()
    return time.process_time() - before


def ratio(name, limit, pairs, at_least=False):
    """A figure of pairs of a measured time and its reference: medians, and their quartiles."""
    ours, theirs = zip(*pairs, strict=True)
    value = statistics.median(ours) / statistics.median(theirs)
    quartiles = statistics.quantiles((a / b for a, b in pairs), n=4)
    spread = (quartiles[0], quartiles[2])
    return Figure(name, value, limit, at_least=at_least, spread=spread)


def cpu(rounds):
    """CPU of a list page, of one snapshot, and of the formats."""
    page = instant_ec2.page(0, "")
    with instant_ec2.running() as url, dcproxy(url) as worker, empty() as nothing:
        client = native_client(url)

        def call():
            client.describe_snapshots(SnapshotIds=[instant_ec2.ONE_ID])

        def parse():
            etree.fromstring(page)

        def dicts_and_tree():
            root = etree.Element("storage_snapshots")
            for snapshot in client.describe_snapshots(MaxResults=1000)["Snapshots"]:
                element = etree.SubElement(root, "storage_snapshot", id=snapshot["SnapshotId"])
                created = snapshot["StartTime"].strftime("%a %b %d %H:%M:%S UTC %Y")
                etree.SubElement(element, "created").text = created
                etree.SubElement(element, "state").text = snapshot["State"]
                etree.SubElement(element, "storage_volume", id=snapshot["VolumeId"])
            etree.tostring(root)

        for address in (LIST, f"{LIST}?format=json", f"{LIST}?format=html", ONE):
            worker.get(address)
        call()
        turns = []
        for number in range(rounds):
            new_caller = basic_authorization(f"AKID{number}:secret{number}")
            turns.append(
                {
                    "xml": worker.cpu_of(LIST),
                    "parse and call": own_cpu(parse) + own_cpu(call),
                    "one": worker.cpu_of(ONE),
                    "empty and call": nothing.cpu_of("/") + own_cpu(call),
                    "new caller": worker.cpu_of(ONE, authorization=new_caller),
                    "json": worker.cpu_of(f"{LIST}?format=json"),
                    "html": worker.cpu_of(f"{LIST}?format=html"),
                }
            )
        heavy = [
            (own_cpu(dicts_and_tree), worker.cpu_of(LIST), own_cpu(parse) + own_cpu(call))
            for _ in range(max(rounds // 5, 2))
        ]

    def pairs(ours, theirs):
        return [(turn[ours], turn[theirs]) for turn in turns]

    return [
        ratio("a page of 1,000 in XML / parse + one call", 2.2, pairs("xml", "parse and call")),
        ratio(
            "boto3's dicts and a tree / that page", 11, [turn[:2] for turn in heavy], at_least=True
        ),
        ratio(
            "  (the most there is: / parse + one call)",
            0,
            [turn[::2] for turn in heavy],
            at_least=True,
        ),
        ratio("one snapshot / empty app + one call", 1.3, pairs("one", "empty and call")),
        ratio("the same, a new caller each time", 1.4, pairs("new caller", "empty and call")),
        ratio("the page in JSON / in XML", 1.3, pairs("json", "xml")),
        ratio("the page in HTML / in XML", 2.0, pairs("html", "xml")),
    ]


def memory(rounds):
    """Memory of a worker: asked once, after all regions, and added by a long list."""
    with instant_ec2.running() as url, dcproxy(url) as worker:
        worker.get(ONE)
        asked_once = worker.memory()
        drivers = json.loads(worker.get("/api/drivers/ec2?format=json"))
        for region in drivers["driver"]["entrypoints"]["ec2"]:
            worker.get(f"/api;provider={region}/storage_snapshots/{instant_ec2.ONE_ID}")
        all_regions = worker.memory()
    with (
        instant_ec2.running(pages=max(LONG_LIST_PAGES * rounds // 60, 3)) as url,
        dcproxy(url) as worker,
    ):
        # What any list of some pages needs, once.
        read_some(worker, pages=3)
        worker.reset_peak()
        before = worker.memory("VmHWM")
        read_some(worker, pages=LONG_LIST_PAGES)
        added = worker.memory("VmHWM") - before
    return [
        Figure("a worker that was asked once", asked_once, 80, "MB"),
        Figure("the same after all regions", all_regions, 130, "MB"),
        Figure("added by a list of 200,000, at its peak", added, 10, "MB"),
    ]


def read_some(worker, pages):
    """Read a list, without keeping it, until so many pages have come or it ends."""
    connection = worker.connect()
    connection.request("GET", LIST, headers={"Authorization": AUTHORIZATION})
    response = connection.getresponse()
    left = pages * 430_000
    while left > 0 and (data := response.read(min(left, 1 << 20))):
        left -= len(data)
    connection.close()


def first_byte(rounds):
    """When the first byte of a body comes, while the second page is 1.5 s late."""
    with instant_ec2.running(pages=2, late=1.5) as url, dcproxy(url) as worker:
        worker.get(ONE)
        connection = worker.connect()
        start = time.monotonic()
        connection.request("GET", LIST, headers={"Authorization": AUTHORIZATION})
        response = connection.getresponse()
        response.read(100_000)
        first = time.monotonic() - start
        response.read()
        whole = time.monotonic() - start
    return [Figure("first 100 kB of a list / the whole, 2nd page late", first / whole, 0.2)]


def slow_reader(rounds):
    """A reader at 50 kB/s: what it costs the worker, and the others."""
    with instant_ec2.running(pages=LONG_LIST_PAGES) as url, dcproxy(url) as worker:
        read_some(worker, pages=3)
        for _ in range(rounds):
            worker.get(ONE)
        alone = latencies(worker, rounds * 3)
        worker.reset_peak()
        before = worker.memory("VmHWM")
        done = threading.Event()
        reader = threading.Thread(target=read_slowly, args=(worker, done))
        reader.start()
        meanwhile = latencies(worker, rounds * 3)
        added = worker.memory("VmHWM") - before
        done.set()
        reader.join()
    slower = statistics.median(meanwhile) / statistics.median(alone)
    return [
        Figure("added by a reader at 50 kB/s, at its peak", added, 10, "MB"),
        Figure("others' median latency meanwhile / before", slower, 1.5),
    ]


def latencies(worker, requests):
    """Seconds that each of some requests takes, with a sleep after each."""
    seconds = []
    for _ in range(requests):
        start = time.perf_counter()
        worker.get(ONE)
        seconds.append(time.perf_counter() - start)
        time.sleep(0.02)
    return seconds


def read_slowly(worker, done):
    with socket.create_connection(("127.0.0.1", worker.port)) as connection:
        request = f"GET {LIST} HTTP/1.1\r\nHost: h\r\nAuthorization: {AUTHORIZATION}\r\n\r\n"
        connection.sendall(request.encode())
        while not done.wait(0.1):
            connection.recv(5_000)


def throughput(worker, callers, seconds):
    """Requests a second that so many callers get together, each on a connection of its own."""
    end = time.monotonic() + seconds

    def ask(_):
        connection = worker.connect()
        count = 0
        while time.monotonic() < end:
            worker.get(ONE, connection)
            count += 1
        connection.close()
        return count

    with ThreadPoolExecutor(callers) as pool:
        return sum(pool.map(ask, range(callers))) / seconds


def callers(rounds):
    """32 callers of one snapshot at once, EC2 100 ms away."""
    with instant_ec2.running(delay=0.1) as url, dcproxy(url) as worker:
        throughput(worker, 32, 0.5)
        rate = throughput(worker, 32, max(rounds / 12, 1))
    return [Figure("32 callers, EC2 100 ms away / 320 a second", rate / 320, 0.8, at_least=True)]


def first_request(rounds):
    """The first request after the start, against the hundredth."""
    pairs = []
    with instant_ec2.running() as url:
        for _ in range(max(rounds // 12, 2)):
            with dcproxy(url) as worker:
                worker.get("/api")  # the worker is up; EC2 was not asked
                first = worker.cpu_of(ONE)
                later = [worker.cpu_of(ONE) for _ in range(100)]
                pairs.append((first, statistics.median(later[-9:])))
    return [ratio("first request to EC2 / the hundredth", 3, pairs)]


def logins(rounds):
    """Wrong passwords of names that exist and of others, and a password that is remembered."""
    with tempfile.TemporaryDirectory() as folder, instant_ec2.running() as url:
        keys = "aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n"
        profiles = {name: f"[profile {name}]\n{keys}" for name in ("reader", "backup", "archive")}
        files = write_account_files(Path(folder), profiles, bcrypt_cost=10)
        known, unknown = (
            basic_authorization(f"{name}:wrong") for name in ("reader", "somebody-else")
        )
        remembered = basic_authorization(f"reader:{password_of('reader')}")
        with dcproxy(url, options={**files.options, "own_keys": "on"}) as worker:
            worker.get(ONE, authorization=remembered)
            worker.get(ONE)
            own = [
                (worker.cpu_of(ONE, authorization=remembered), worker.cpu_of(ONE))
                for _ in range(rounds)
            ]
        with dcproxy(url, options=files.options) as worker:
            worker.get(ONE, authorization=known, status=401)
            worker.get(ONE, authorization=unknown, status=401)
            wrong = [
                tuple(worker.cpu_of(ONE, authorization=a, status=401) for a in (unknown, known))
                for _ in range(rounds)
            ]
    return [
        ratio("wrong password, unknown name / known name, at most", 1.05, wrong),
        ratio("wrong password, unknown name / known name, at least", 0.95, wrong, at_least=True),
        ratio("one snapshot, of an account / own key", 1.1, own),
    ]


FIGURES = {
    "cpu": cpu,
    "memory": memory,
    "first_byte": first_byte,
    "slow_reader": slow_reader,
    "callers": callers,
    "first_request": first_request,
    "logins": logins,
}
