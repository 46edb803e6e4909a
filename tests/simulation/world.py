"""A world: clients, replicas and an EC2 with faults, all drawn from one seed, run to the end."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from greenlet import getcurrent

from tests.simulation import replica
from tests.simulation.actors import Client, ClientPlan, ClientRequest, Replica
from tests.simulation.ec2 import EC2, Behaviour, Request, Response
from tests.simulation.invariants import NOT_QUIET, Outcome, Rules, Violation, violations
from tests.simulation.network import FATES, Faults, Network
from tests.simulation.scheduler import NotQuietError, Scheduler, Task


@dataclass(slots=True, kw_only=True)
class Scenario:
    """What a world consists of. ``crashes`` are times and numbers of replicas."""

    clients: Sequence[ClientPlan]
    replicas: int = 1
    settings: int = 0
    behaviour: Behaviour = field(default_factory=Behaviour)
    faults: Faults = field(default_factory=Faults)
    crashes: Sequence[tuple[float, int]] = ()


@dataclass(slots=True)
class Result:
    """What came out. ``answers`` counts creates by kind of answer, ``fates`` EC2 calls."""

    seed: int
    violations: list[Violation]
    answers: Counter[str]
    fates: Counter[str]
    seconds: float
    trace: list[str]
    requests: Sequence[ClientRequest]
    ec2: EC2


class World:
    """The surroundings of dcproxy while it runs."""

    def __init__(self, seed: int, scenario: Scenario, *, is_traced: bool = False) -> None:
        self.scheduler = Scheduler(seed)
        self.random = self.scheduler.random
        self.is_traced = is_traced
        self.trace: list[str] = []
        self.requests: list[ClientRequest] = []
        self.signatures: list[tuple[ClientRequest, str]] = []
        self.ec2 = EC2(scenario.behaviour, self.random, lambda: self.scheduler.now)
        self.network = Network(
            self.scheduler,
            self.ec2,
            scenario.faults,
            self._crash_current,
            self.note if is_traced else None,
        )
        settings = replica.SETTINGS[scenario.settings]
        self.replicas = [
            Replica(self, number, replica.replica_application(number, settings))
            for number in range(scenario.replicas)
        ]
        for plan in scenario.clients:
            self.ec2.add_volume(plan.account, plan.region, plan.volume_id)
            self.scheduler.spawn(Client(self, plan).run, plan.name)
        for at, number in scenario.crashes:
            self.scheduler.call_later(at, self._crash, self.replicas[number])

    @property
    def now(self) -> float:
        return self.scheduler.now

    def sleep(self, seconds: float) -> None:
        if self.is_traced:
            self.note(f"sleeps {seconds:.3f} s")
        self.scheduler.sleep(seconds)

    def send(self, request: Request, connect_timeout: float, read_timeout: float) -> Response:
        sender: ClientRequest = request.sender
        sender.sends += request.action == "CreateSnapshot"
        if request.access_key_id != sender.account:
            self.signatures.append((sender, request.access_key_id))
        return self.network.send(request, connect_timeout, read_timeout)

    def current_request(self) -> ClientRequest | None:
        task = getcurrent()
        return task.request if isinstance(task, Task) else None

    def spawn_job(self, run: Callable[[], Any]) -> None:
        server = self._current_replica()
        if server is None:
            raise RuntimeError("only what runs in a replica can start a job")
        server.spawn_job(run)

    def note(self, text: str) -> None:
        if self.is_traced:
            task = getcurrent()
            name = task.name if isinstance(task, Task) else "-"
            self.trace.append(f"{self.scheduler.now:10.3f}  {name:16} {text}")

    def _crash(self, server: Replica) -> None:
        server.crash(self.random.uniform(0.5, 10))

    def _crash_current(self) -> None:
        server = self._current_replica()
        if server is not None:
            self._crash(server)
            self.scheduler.kill_current()

    def _current_replica(self) -> Replica | None:
        task = self.scheduler.current
        return next((server for server in self.replicas if server.runs(task)), None)


def run(
    seed: int,
    scenario: Scenario | None = None,
    *,
    rules: Rules | None = None,
    is_traced: bool = False,
) -> Result:
    """Run the world of a seed until it is quiet and check it. Within ``replica.installed``."""
    scenario = scenario or draw(seed)
    world = World(seed, scenario, is_traced=is_traced)
    found: list[Violation] = []
    with replica.running(world):
        try:
            world.scheduler.run()
        except NotQuietError:
            found.append(Violation(NOT_QUIET, f"at {world.scheduler.now:.3f} s"))
        finally:
            world.scheduler.close()
    found += violations(
        Outcome(world.requests, world.ec2.snapshots, world.signatures), rules or Rules()
    )
    return Result(
        seed,
        found,
        Counter(request.kind for request in world.requests if request.method == "POST"),
        Counter(world.network.fates),
        world.scheduler.now,
        world.trace,
        world.requests,
        world.ec2,
    )


def draw(seed: int) -> Scenario:
    """Draw the scenario of a seed: mostly few clients, few replicas and few kinds of fault."""
    # Not the generator of the run: its numbers depend on what dcproxy does.
    random = Random(seed ^ 0x5EED)
    if random.random() < 0.15:
        return SCENARIOS[random.choice(sorted(SCENARIOS))](random)
    is_large = random.random() < 0.04
    accounts = ("AKIDALICE", "AKIDBOB") if random.random() < 0.2 else ("AKIDALICE",)
    regions = replica.REGIONS if random.random() < 0.1 else replica.REGIONS[:1]
    key_use = random.choice((0.0, 0.5, 1.0, 1.0))
    keys = [f"key-{number}" for number in range(random.choice((1, 1, 1, 2)))]
    spread = random.choice((0.0, 0.1, 0.5, 2.0, 10.0))
    replicas = random.randint(4, 6) if is_large else random.choice((1, 2, 2, 3))
    clients = [
        _draw_client(random, f"client{number}", accounts, regions, keys, key_use, spread)
        for number in range(
            random.randint(5, 10) if is_large else random.choice((1, 1, 2, 2, 3, 4))
        )
    ]
    crashes = []
    if random.random() < 0.1:
        crashes.append((random.uniform(0, 5), random.randrange(replicas)))
    return Scenario(
        clients=clients,
        replicas=replicas,
        settings=random.randrange(len(replica.SETTINGS)),
        behaviour=_draw_behaviour(random),
        faults=_draw_faults(random),
        crashes=crashes,
    )


def _draw_client(
    random: Random,
    name: str,
    accounts: Sequence[str],
    regions: Sequence[str],
    keys: Sequence[str],
    key_use: float,
    spread: float,
) -> ClientPlan:
    has_key = random.random() < key_use
    differs = random.random() < 0.08
    return ClientPlan(
        name=name,
        account=random.choice(accounts),
        region=random.choice(regions),
        volume_id="vol-22222222" if random.random() < 0.1 else "vol-11111111",
        snapshot_name="other" if differs else random.choice(("", "nightly")) if not has_key else "",
        description="" if has_key else random.choice(("", "of the night & day")),
        key=random.choice(keys) if has_key else None,
        start_at=random.uniform(0, spread),
        patience=random.choice((60.0, 60.0, 45.0, 45.0, 5.0)),
        tries=random.choice((1, 2, 3, 3)),
        pauses=random.choice(((0.0, 0.5), (0.5, 5.0), (5.0, 30.0))),
        repeats_unkeyed=random.random() < 0.2,
        deletes_after=random.uniform(0.1, 20) if random.random() < 0.1 else None,
    )


def _draw_behaviour(random: Random) -> Behaviour:
    behaviour = Behaviour(
        read_replicas=random.choice((1, 2, 3)),
        lag=random.choice(
            (
                (0.0, 0.0),
                (0.0, 0.0),
                (0.0, 0.3),
                (0.0, 1.0),
                (2.0, 3.0),
                (0.0, 3.8),
                (10.0, 13.8),
                (60.0, 63.8),
            )
        ),
        clock_skew=random.choice((0.0, 0.0, 0.005, 0.5)),
        pending=random.choice(((0.0, 1.0), (5.0, 60.0), (60.0, 600.0))),
        has_short_pages=random.random() < 0.1,
        limits_creates_per_volume=random.random() < 0.2,
    )
    if random.random() < 0.15:
        behaviour.error_rate = random.choice((0.2, 0.5))
    if random.random() < 0.1:
        behaviour.bucket = (random.uniform(1, 5), random.uniform(0.2, 2))
    if random.random() < 0.05:
        behaviour.throttle_rate = 0.3
    if random.random() < 0.05:
        behaviour.delete_refusal_rate = random.choice((0.5, 1.0))
    return behaviour


def _draw_faults(random: Random) -> Faults:
    faults = Faults(latency=random.choice(((0.01, 0.05), (0.01, 0.15), (0.05, 1.0), (0.1, 5.0))))
    kinds = random.choice((0, 0, 1, 1, 1, 2, 3))
    for fate in random.sample(FATES, kinds):
        faults.rates[fate] = random.choice((0.1, 0.3, 0.6)) / kinds
    faults.only = random.choice((None, None, "CreateSnapshot", "DescribeSnapshots"))
    faults.late_effect = random.choice(((0.0, 1.0), (0.0, 5.0), (0.0, 30.0), (30.0, 300.0)))
    if random.random() < 0.08:
        faults.crash_rate = random.choice((0.02, 0.1))
    if random.random() < 0.05:
        start = random.uniform(0, 5)
        faults.outage = (start, start + random.uniform(1, 90), random.choice(FATES))
    return faults


def _same_key_with_lag(random: Random, lag: tuple[float, float]) -> Scenario:
    clients = [
        ClientPlan(
            name=f"client{number}",
            account="AKIDALICE",
            region=replica.REGIONS[0],
            volume_id="vol-11111111",
            key="key-0",
            start_at=random.uniform(0, 2),
        )
        for number in range(random.randint(2, 3))
    ]
    behaviour = Behaviour(read_replicas=random.choice((1, 2)), lag=lag)
    return Scenario(clients=clients, replicas=2, behaviour=behaviour)


def _oldest_in_error(random: Random) -> Scenario:
    scenario = _same_key_with_lag(random, (0.0, 0.5))
    scenario.behaviour.error_rate = 0.5
    scenario.behaviour.pending = (0.0, 0.2)
    # A lost answer makes dcproxy look, and rank what it finds, some seconds later.
    scenario.faults.rates = {"lost_response": 0.3, "late_effect": 0.3}
    scenario.faults.only = "CreateSnapshot"
    scenario.faults.late_effect = (0.0, 20.0)
    return scenario


def _lost_response_with_lag(random: Random) -> Scenario:
    client = ClientPlan(
        name="client0", account="AKIDALICE", region=replica.REGIONS[0], volume_id="vol-11111111"
    )
    return Scenario(
        clients=[client],
        behaviour=Behaviour(lag=(random.choice((5.0, 10.0)), 20.0)),
        faults=Faults(script={"CreateSnapshot": ["lost_response"]}),
    )


SCENARIOS: dict[str, Callable[[Random], Scenario]] = {
    "same-key-short-lag": lambda random: _same_key_with_lag(random, (0.0, 1.0)),
    "same-key-long-lag": lambda random: _same_key_with_lag(random, (2.0, 3.0)),
    "oldest-in-error": _oldest_in_error,
    "lost-response-long-lag": _lost_response_with_lag,
}
"""Situations that broke a create once: worlds of one kind, still drawn from the seed."""


def scenario_of(seed: int, name: str | None = None) -> Scenario:
    """Give the scenario of a seed, of the kind ``name`` where one is given."""
    return SCENARIOS[name](Random(seed ^ 0x5EED)) if name else draw(seed)
