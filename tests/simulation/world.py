"""A world: clients, replicas and an EC2 with faults, all drawn from one seed, run to the end."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from greenlet import getcurrent

from tests.simulation import replica
from tests.simulation.actors import Client, ClientPlan, ClientRequest, Replica
from tests.simulation.ec2 import EC2, Behaviour, Request
from tests.simulation.invariants import NOT_QUIET, Outcome, Rules, Violation, violations
from tests.simulation.network import FATES, Faults, Network, NetworkError, ids_of
from tests.simulation.scheduler import NotQuietError, Scheduler, Task
from tests.support.ec2_responses import EC2Response


@dataclass(slots=True, kw_only=True)
class Scenario:
    """What a world consists of. ``crashes`` are times and numbers of replicas.

    ``threads`` is the number of requests that a replica serves at once, 0 means any.
    """

    clients: Sequence[ClientPlan]
    replicas: int = 1
    threads: int = 0
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
        self.applications = replica.Applications(settings)
        self.replicas = [
            Replica(self, number, self.applications.start, scenario.threads)
            for number in range(scenario.replicas)
        ]
        for plan in scenario.clients:
            self.ec2.owned_volumes.add((plan.account, plan.region, plan.volume_id))
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

    def send(self, request: Request, connect_timeout: float, read_timeout: float) -> EC2Response:
        sender: ClientRequest = request.sender
        if request.access_key_id != sender.account:
            self.signatures.append((sender, request.access_key_id))
        self._record_call(request)
        try:
            response = self.network.send(request, connect_timeout, read_timeout)
        except NetworkError as error:
            self._record_failure(request, is_lost=error.kind in ("read_timeout", "closed"))
            raise
        self._record_response(request, response)
        return response

    def _record_call(self, request: Request) -> None:
        sender: ClientRequest = request.sender
        if sender.called_at is None:
            sender.called_at = self.now
        if request.action == "CreateSnapshot":
            must_search_since = 0.0 if sender.key is not None else None
            if sender.lost_at is not None:
                must_search_since = sender.lost_at
                sender.resends += sender.key is not None
            if must_search_since is not None and (
                sender.searched_at is None or sender.searched_at < must_search_since
            ):
                sender.unsearched_sends += 1
            if not sender.sends and sender.left_at is not None:
                sender.sends_without_client = 1
            sender.sends += 1
            sender.sent_at = self.now
        elif request.action == "DescribeSnapshots" and "NextToken" not in request.parameters:
            sender.search_began_at = self.now
            sender.shown = set()

    def _record_response(self, request: Request, response: EC2Response) -> None:
        sender: ClientRequest = request.sender
        if response.status >= 300:
            is_throttled = replica.is_throttling(response.error_code)
            self._record_failure(request, is_lost=response.status >= 500 and not is_throttled)
        elif b"<requestId>" not in response.body:
            self._record_failure(request, is_lost=True)
        elif request.action == "CreateSnapshot":
            sender.effects += 1
            sender.effect_at = self.now
        elif request.action == "DescribeSnapshots":
            sender.shown.update(ids_of(response.body))
            sender.is_shown |= any(self.ec2.snapshots[id].sender is sender for id in sender.shown)
            if b"<nextToken>" not in response.body:
                sender.searched_at = sender.search_began_at
                if sender.first_search_at is None:
                    sender.first_search_at = sender.search_began_at

    def _record_failure(self, request: Request, *, is_lost: bool) -> None:
        sender: ClientRequest = request.sender
        if request.action != "CreateSnapshot":
            sender.failed_call_at = self.now
        elif is_lost:
            sender.effects += 1
            sender.effect_at = sender.lost_at = self.now

    def current_request(self) -> ClientRequest | None:
        task = getcurrent()
        return task.request if isinstance(task, Task) else None

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
            world.applications.close()
    outcome = Outcome(
        world.requests,
        world.ec2.snapshots,
        world.signatures,
        deadline=replica.SETTINGS[scenario.settings].deadline,
    )
    found += violations(outcome, rules or Rules())
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
        names = sorted(SCENARIOS)
        weights = [0.05 if name in LARGE_SCENARIOS else 1.0 for name in names]
        return SCENARIOS[random.choices(names, weights)[0]](random)
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
                *[(0.0, 0.0)] * 3,
                *[(0.0, 0.3), (0.0, 1.0), (2.0, 3.0), (0.0, 3.8)] * 2,
                (10.0, 13.8),
                (38.0, 41.8),
                (60.0, 63.8),
                (250.0, 253.8),
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
    behaviour.delete_by_lagging_read = random.random() < 0.15
    behaviour.refuses_tags = random.random() < 0.03
    if random.random() < 0.05:
        behaviour.ignored_tags_rate = random.choice((0.3, 1.0))
    return behaviour


def _draw_faults(random: Random) -> Faults:
    faults = Faults(latency=random.choice(((0.01, 0.05), (0.01, 0.15), (0.05, 1.0), (0.1, 5.0))))
    kinds = random.choice((0, 0, 1, 1, 1, 2, 3))
    for fate in random.sample(FATES, kinds):
        faults.rates[fate] = random.choice((0.1, 0.3, 0.6)) / kinds
    faults.only = random.choice((None, None, "CreateSnapshot", "DescribeSnapshots"))
    faults.late_effect = random.choice(((0.0, 1.0), (0.0, 5.0), (0.0, 30.0), (30.0, 300.0)))
    faults.has_proxy = random.random() < 0.3
    if random.random() < 0.08:
        faults.crash_rate = random.choice((0.02, 0.1))
    if random.random() < 0.05:
        start = random.uniform(0, 5)
        faults.outage = (start, start + random.uniform(1, 90), random.choice(FATES))
    return faults


def _clients_of_one_key(
    random: Random, count: int, latest_start: float, tries: int = 3
) -> list[ClientPlan]:
    return [
        ClientPlan(
            name=f"client{number}",
            account="AKIDALICE",
            region=replica.REGIONS[0],
            volume_id="vol-11111111",
            key="key-0",
            start_at=random.uniform(0, latest_start),
            tries=tries,
        )
        for number in range(count)
    ]


def _same_key_with_lag(random: Random, lag: tuple[float, float]) -> Scenario:
    clients = _clients_of_one_key(random, random.randint(2, 3), latest_start=2)
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


def _oldest_fails_meanwhile(random: Random) -> Scenario:
    clients = _clients_of_one_key(random, random.randint(3, 5), latest_start=4, tries=1)
    behaviour = Behaviour(
        read_replicas=3, lag=(0.0, 3.8), error_rate=0.5, pending=(5.0, random.choice((9.0, 12.0)))
    )
    return Scenario(
        clients=clients, replicas=2, behaviour=behaviour, faults=Faults(latency=(0.1, 2.0))
    )


def _lost_response_with_lag(random: Random) -> Scenario:
    client = ClientPlan(
        name="client0", account="AKIDALICE", region=replica.REGIONS[0], volume_id="vol-11111111"
    )
    script = {"CreateSnapshot": ["lost_response"]}
    if random.random() < 0.3:
        script["DescribeSnapshots"] = ["error_without_effect"] * 9
    return Scenario(
        clients=[client],
        behaviour=Behaviour(lag=random.choice(((3.0, 6.0), (5.0, 20.0), (10.0, 20.0)))),
        faults=Faults(script=script),
    )


def _lost_responses_without_tags(random: Random) -> Scenario:
    scenario = _lost_response_with_lag(random)
    scenario.behaviour = random.choice(
        (Behaviour(refuses_tags=True), Behaviour(ignored_tags_rate=1.0))
    )
    scenario.faults = Faults(rates={random.choice(("lost_response", "late_effect")): 0.5})
    scenario.faults.only = "CreateSnapshot"
    return scenario


def _lost_responses_behind_a_proxy(random: Random) -> Scenario:
    clients = _clients_of_one_key(random, random.randint(1, 2), latest_start=2)
    for client in clients:
        client.key = random.choice((None, client.key))
    faults = Faults(rates={"lost_response": 0.4, "lost_request": 0.2}, has_proxy=True)
    return Scenario(clients=clients, behaviour=Behaviour(lag=(0.0, 1.0)), faults=faults)


def _two_accounts_with_retries(random: Random) -> Scenario:
    clients = [
        ClientPlan(
            name=f"client{number}",
            account=account,
            region=replica.REGIONS[0],
            volume_id="vol-11111111",
            key="key-0",
            start_at=random.uniform(0, 1),
        )
        for number, account in enumerate(("AKIDALICE", "AKIDBOB") * 2)
    ]
    faults = Faults(rates={"error_without_effect": 0.4}, only="DescribeSnapshots")
    return Scenario(clients=clients, replicas=random.choice((1, 2)), faults=faults)


def _impatient_clients_behind_slow_lists(random: Random) -> Scenario:
    def plan(name: str, **fields: Any) -> ClientPlan:
        return ClientPlan(
            name=name,
            account="AKIDALICE",
            region=replica.REGIONS[0],
            volume_id="vol-11111111",
            **fields,
        )

    readers = [
        plan(f"reader{number}", is_reader=True, tries=4, pauses=(0.0, 0.2)) for number in range(4)
    ]
    creators = [
        plan(
            f"client{number}",
            start_at=random.uniform(0.1, 10),
            patience=5.0,
            tries=3,
            pauses=(0.0, 0.5),
            repeats_unkeyed=True,
        )
        for number in range(random.randint(1, 3))
    ]
    return Scenario(
        clients=[*readers, *creators],
        replicas=random.choice((1, 2)),
        threads=2,
        faults=Faults(latency=(1.0, 4.0)),
    )


def _callers_of_one_key(
    random: Random, replicas: int, spread: float, lag: tuple[float, float]
) -> Scenario:
    clients = [
        ClientPlan(
            name=f"client{number}",
            account="AKIDALICE",
            region=replica.REGIONS[0],
            volume_id="vol-11111111",
            key="key-0",
            start_at=random.uniform(0, spread),
        )
        for number in range(64)
    ]
    behaviour = Behaviour(
        read_replicas=random.choice((1, 2, 3)), lag=lag, pending_per_volume=len(clients)
    )
    return Scenario(clients=clients, replicas=replicas, behaviour=behaviour)


SCENARIOS: dict[str, Callable[[Random], Scenario]] = {
    "same-key-short-lag": lambda random: _same_key_with_lag(random, (0.0, 1.0)),
    "same-key-long-lag": lambda random: _same_key_with_lag(random, (2.0, 3.0)),
    "oldest-in-error": _oldest_in_error,
    "oldest-fails-meanwhile": _oldest_fails_meanwhile,
    "lost-response-long-lag": _lost_response_with_lag,
    "lost-responses-without-tags": _lost_responses_without_tags,
    "lost-responses-behind-a-proxy": _lost_responses_behind_a_proxy,
    "two-accounts-with-retries": _two_accounts_with_retries,
    "impatient-clients-behind-slow-lists": _impatient_clients_behind_slow_lists,
    "64-callers-of-one-key": lambda random: _callers_of_one_key(random, 4, 1.0, (2.0, 3.0)),
    "64-answers-of-two-replicas": lambda random: _callers_of_one_key(random, 2, 10.0, (0.0, 1.0)),
}
"""Situations that are hard for a create: worlds of one kind, still drawn from the seed."""

LARGE_SCENARIOS = frozenset({"64-callers-of-one-key", "64-answers-of-two-replicas"})
"""Scenarios that take a hundred times as long as others, and are drawn more rarely."""


def scenario_of(seed: int, name: str | None = None) -> Scenario:
    """Give the scenario of a seed, of the kind ``name`` where one is given."""
    return SCENARIOS[name](Random(seed ^ 0x5EED)) if name else draw(seed)
