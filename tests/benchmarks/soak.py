"""One worker under a mixed load over all regions: what it holds at the end, and at the most."""

import asyncio
import json
import random
import time
from collections import Counter

from tests.benchmarks.figures import Figure
from tests.benchmarks.hostile import one_worker, status
from tests.support import instant_ec2
from tests.support.callers import basic_authorization

REQUESTS = 50_000
REQUESTS_A_SECOND = 200
FIRST_REQUESTS = 1000
CLIENTS = 16
CALLERS = 500

LIST = "/storage_snapshots"
ONE = f"{LIST}/{instant_ec2.ONE_ID}"
WHOLE = -1
KINDS = {
    # Method, path below the region, bytes taken of the response, status: parts of a hundred.
    ("GET", ONE, WHOLE, 200): 55,
    ("GET", f"{ONE}?format=json", WHOLE, 200): 6,
    ("GET", f"{ONE}?format=html", WHOLE, 200): 6,
    ("GET", LIST, WHOLE, 200): 4,
    ("GET", LIST, 1000, 200): 1,
    ("GET", "", WHOLE, 200): 6,
    ("GET", f"{LIST}/snap-none", WHOLE, 404): 6,
    ("GET", f"{LIST}?owner_id=nobody", WHOLE, 400): 4,
    ("POST", f"{LIST}?volume_id=vol-12345678", WHOLE, 201): 6,
    ("DELETE", ONE, WHOLE, 204): 6,
}


def soak(minutes):
    """Give the memory that many requests and all regions add, and what is held meanwhile."""
    seconds = minutes * 60
    rate = min(REQUESTS / seconds, REQUESTS_A_SECOND)
    total = round(rate * seconds)
    first = min(FIRST_REQUESTS, total // 2)
    with instant_ec2.running(pages=2, delay=0.01) as url, one_worker(url, {}) as (worker, _):
        drivers = json.loads(worker.get("/api/drivers/ec2?format=json"))
        regions = list(drivers["driver"]["entrypoints"]["ec2"])
        unexpected, _ = asyncio.run(loaded(worker, ["us-east-1"], first, rate))
        before = worker.memory()
        more, held = asyncio.run(loaded(worker, regions, total - first, rate))
        added = worker.memory() - before
        assert not (wrong := unexpected + more), wrong
    return [
        Figure("soak: requests", total, 0, "", at_least=True),
        Figure("soak: memory added since the first thousand", added, 20, "MB"),
        Figure("soak: descriptors, at the most", max(held), 500, ""),
    ]


async def loaded(worker, regions, count, rate):
    """Send requests at a rate: give the statuses that are not expected, and the descriptors."""
    numbers = iter(range(count))
    start = time.monotonic()
    unexpected = Counter()
    descriptors = [worker.descriptors()]

    async def send_some():
        for number in numbers:
            await asyncio.sleep(start + number / rate - time.monotonic())
            [kind] = random.choices(list(KINDS), KINDS.values())
            method, path, taken, expected = kind
            address = f"/api;provider={random.choice(regions)}{path}"
            authorization = basic_authorization(f"AKID{random.randrange(CALLERS)}:secret")
            given = await status(worker.port, None, address, authorization, method, taken)
            if given != expected:
                unexpected[method, path, given] += 1
            if number % 100 == 0:
                descriptors.append(worker.descriptors())

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(send_some())
    return unexpected, descriptors
