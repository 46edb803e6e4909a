"""Hostile and greedy clients, and what they cost others: one worker, no balancer.

The server is the command with the options of ``proxy.ini`` and the usual limit of 1,024 open files.
Others are measured meanwhile: requests at a fixed rate, each on a new connection.
"""

import asyncio
import math
import resource
import ssl
import tempfile
import time
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from dcproxy.settings import Settings
from tests.benchmarks.attacker import attacking
from tests.benchmarks.figures import Figure
from tests.benchmarks.servers import Worker
from tests.support import instant_ec2, servers
from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION, basic_authorization
from tests.support.certificates import make_certificate
from tests.support.floods import FLOODS, flooding, longest_wait
from tests.support.launcher import ANEW

SHOW = f"{SNAPSHOTS}/{instant_ec2.ONE_ID}"
RATES = {"/healthz": 15, SHOW: 15}
"""Requests a second of those who do not attack."""

LIMITS = {"request_timeout": 20, "idle_timeout": 60}
"""The options of ``proxy.ini``, in seconds."""

USUAL_OPEN_FILES = 1024
RELEASE_SECONDS = 30
GIVE_UP_SECONDS = 10

# What the measured callers, and the connections to EC2, may still have.
FEW_CONNECTIONS = 30
FEW_DESCRIPTORS = 50

ATTACKS = {
    "silent": 2000,
    "half heads": 500,
    "half bodies": 500,
    "half handshakes": 200,
    "stopped readers": 200,
    "silent, steadily": 960,
}
"""How many connections of each kind; the last ones are 16 a second for a minute."""


def hostile(rounds):
    """Yield the figures of each attack, of all together, and of a greedy caller.

    60 rounds take the time limits of ``proxy.ini``; fewer shorten them, and the attacks with them.
    """
    limits = {name: max(round(limit * rounds / 60), 1) for name, limit in LIMITS.items()}
    share = min(rounds / 10, 1)
    alone = [{name: count} for name, count in ATTACKS.items()] if share == 1 else []
    for attacks in [*alone, ATTACKS]:
        is_tls = list(attacks) == ["half handshakes"]
        yield from attack_figures(attacks, limits, share, is_tls)
    yield from fairness(max(rounds / 3, 3))
    yield from flood_figures(max(rounds / 6, 1))


@contextmanager
def one_worker(ec2_url, limits, is_tls=False):
    """Run the command with one worker, and give that worker and the context for TLS, if any."""
    known = {declaration.name for declaration in fields(Settings)}
    options = {name: limit for name, limit in limits.items() if name in known}
    with tempfile.TemporaryDirectory() as name, usual_open_files():
        folder = Path(name)
        text = servers.proxy_ini(ec2_url, ("workers = 2", "workers = 1"))
        ini = folder / "proxy.ini"
        ini.write_text(servers.with_options(text, options))
        command = [*ANEW, servers.BIN / "dcproxy", "--config", ini, "--port", "0"]
        context = None
        if is_tls:
            ca, key, certificate = make_certificate(folder)
            command += ["--ssl-key", key, "--ssl-cert", certificate]
            context = ssl.create_default_context(cafile=ca)
        with servers.running(command, folder / "log") as server:
            yield Worker(server), context


@contextmanager
def usual_open_files():
    """Let the processes that are started meanwhile have the usual limit, which they can raise."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL_OPEN_FILES, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def attack_figures(attacks, limits, share, is_tls):
    """Give what others see of attacks, their memory, and when the worker has released them."""
    title = "all together"
    if len(attacks) == 1:
        [(name, count)] = attacks.items()
        title = f"{count:,} {name}"
    limit = limits["idle_timeout" if "stopped readers" in attacks else "request_timeout"]
    fewer = {name: math.ceil(count * share) for name, count in attacks.items()}
    with (
        instant_ec2.running(pages=200, delay=0.01) as url,
        one_worker(url, limits, is_tls) as (worker, context),
    ):
        before = asyncio.run(settled_descriptors(worker, context))
        worker.reset_peak()
        with attacking(worker.port, fewer, limits["idle_timeout"]) as attacker:
            end = until_released(worker, attacker, before, limit, (RELEASE_SECONDS + 5) * share)
            seconds, released = asyncio.run(measured(worker, context, RATES, end))
        peak = worker.memory("VmHWM") if worker.is_running() else math.inf
    return [
        Figure(f"{title}: /healthz, 99 %", percentile(seconds["/healthz"], 99), 1, "s"),
        Figure(f"{title}: show, 99 %", percentile(seconds[SHOW], 99), 1, "s"),
        Figure(f"{title}: memory at its peak", peak, 400, "MB"),
        *(
            Figure(f"{title}: {what} after the limit", later, RELEASE_SECONDS, "s")
            for what, later in released.items()
        ),
    ]


async def settled_descriptors(worker, context):
    """Ask until the worker has made what it keeps, and count its descriptors."""
    await measured(worker, context, RATES, asyncio.sleep(1))
    return worker.descriptors()


async def until_released(worker, attacker, before, limit, patience):
    """Wait until the worker has released all; give the seconds beyond a limit that each took.

    They are infinite for a worker that ended, or that still has them when ``patience`` is over.
    """
    ready = await asyncio.to_thread(attacker.stdout.readline)
    assert ready == b"ready\n", ready
    await asyncio.sleep(limit)
    start = time.monotonic()
    is_released = {
        "connections": lambda: worker.connections() <= FEW_CONNECTIONS,
        "descriptors": lambda: worker.descriptors() <= before + FEW_DESCRIPTORS,
    }
    released = dict.fromkeys(is_released, math.inf)
    while worker.is_running() and time.monotonic() < start + patience:
        for what, check in is_released.items():
            if released[what] == math.inf and check():
                released[what] = time.monotonic() - start
        if math.inf not in released.values():
            break
        await asyncio.sleep(0.2)
    return released


async def measured(worker, context, rates, end):
    """Send requests at their rates until ``end`` is done: give their seconds, and its result."""
    seconds = {address: [] for address in rates}
    is_over = False

    async def send(address):
        start = time.monotonic()
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):
                is_ok = await status(worker.port, context, address) == 200
        except (OSError, TimeoutError):
            is_ok = False
        seconds[address].append(time.monotonic() - start if is_ok else math.inf)

    async def send_steadily(requests, address, rate):
        planned = time.monotonic()
        while not is_over:
            requests.create_task(send(address))
            planned += 1 / rate
            await asyncio.sleep(planned - time.monotonic())

    async with asyncio.TaskGroup() as requests:
        for address, rate in rates.items():
            requests.create_task(send_steadily(requests, address, rate))
        result = await end
        is_over = True
    return seconds, result


async def status(port, context, address, authorization=AUTHORIZATION, method="GET", taken=-1):
    """Send a request on a connection of its own, read its response, or a part; give its status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        head = f"{method} {address} HTTP/1.1\r\nHost: h\r\nAuthorization: {authorization}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        response = await reader.read(taken)
    finally:
        writer.close()
    return int(response.split()[1]) if response else 0


def percentile(seconds, rank):
    return sorted(seconds)[math.ceil(len(seconds) * rank / 100) - 1]


def flood_figures(seconds):
    """The longest that another client waits while two connections send at full speed."""
    with instant_ec2.running() as url, one_worker(url, {}) as (worker, _):
        for name in FLOODS:
            with flooding(worker.port, name, seconds + 5, connections=2):
                longest = longest_wait(servers.Server(None, worker.port, None), seconds)
            yield Figure(f"{name}: another's /healthz, longest", longest, 1, "s")


def fairness(seconds):
    """What another caller sees while one has 200 lists at once, EC2 2 s away."""
    with instant_ec2.running(delay=2) as url, one_worker(url, {}) as (worker, context):
        asyncio.run(measured(worker, context, {SHOW: 2}, asyncio.sleep(1)))
        end = lists_of_one_caller(worker.port, seconds)
        taken, lists = asyncio.run(measured(worker, context, {SHOW: 2}, end))
    return [
        Figure("200 lists of one caller: another's show, longest", max(taken[SHOW]), 3, "s"),
        Figure("  lists answered meanwhile", lists / seconds, 0, "/s", at_least=True),
    ]


async def lists_of_one_caller(port, seconds):
    """Keep 200 lists at once for some seconds, and count those that succeed."""
    authorization = basic_authorization("AKIDGREEDY:secret")
    end = time.monotonic() + seconds
    counted = 0

    async def list_again():
        nonlocal counted
        while time.monotonic() < end:
            try:
                is_ok = await status(port, None, SNAPSHOTS, authorization) == 200
            except OSError:
                is_ok = False
            counted += is_ok
            if not is_ok:
                await asyncio.sleep(1)

    async with asyncio.TaskGroup() as clients:
        for _ in range(200):
            clients.create_task(list_again())
    return counted
