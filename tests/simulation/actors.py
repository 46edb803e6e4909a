"""Who acts in a world: clients that create snapshots, and the replicas that serve them."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulation import replica
from tests.simulation.scheduler import Event, Task

if TYPE_CHECKING:
    from tests.simulation.world import World


@dataclass(slots=True, kw_only=True)
class ClientRequest:
    """One HTTP request to dcproxy and what became of it.

    ``kind`` is that of ``replica.kind_of``, ``no_answer`` when the replica crashed. The answer is
    recorded even if the client had left (``left_at``) by then. ``is_warned``: dcproxy logged that
    there may be another snapshot. ``has_crashed``: the replica crashed while it was served.
    ``worker`` is the replica, and how often it had crashed before.

    ``sends`` counts the CreateSnapshot calls that it made, the last one at ``sent_at``;
    ``effects`` those that may have succeeded, the last one until ``effect_at``, and ``lost_at`` is
    when the last one with an unknown outcome ended. ``unsearched_sends`` counts those before which
    it had to search and did not, ``resends`` those with a key after a lost response,
    ``sends_without_client`` is 1 if the first one came after the client had left.

    ``called_at`` is when its first call of EC2 began. ``first_search_at`` is when its first
    complete search began, ``searched_at`` the last one, ``search_began_at`` the last one that was
    tried. ``shown`` are the ids that the last search showed, ``is_shown``: one of them is its own.
    ``failed_call_at`` is when the last call other than a create failed.
    """

    name: str
    client: str
    account: str
    region: str
    method: str = "POST"
    key: str | None = None
    volume_id: str = ""
    snapshot_name: str = ""
    description: str = ""
    target_id: str = ""
    started_at: float = 0.0
    answered_at: float | None = None
    left_at: float | None = None
    status: int = 0
    kind: str = "no_answer"
    snapshot_id: str = ""
    message: str = ""
    worker: tuple[str, int] = ("", 0)
    sends: int = 0
    sent_at: float | None = None
    effects: int = 0
    effect_at: float | None = None
    lost_at: float | None = None
    unsearched_sends: int = 0
    resends: int = 0
    sends_without_client: int = 0
    called_at: float | None = None
    search_began_at: float = 0.0
    first_search_at: float | None = None
    searched_at: float | None = None
    shown: set[str] = field(default_factory=set)
    is_shown: bool = False
    failed_call_at: float | None = None
    is_warned: bool = False
    has_crashed: bool = False

    @property
    def scope(self) -> tuple[str, str, str] | None:
        """Within what a key is one key, whatever the parameters. None without a key."""
        return None if self.key is None else (self.account, self.region, self.key)

    @property
    def group(self) -> tuple[str, ...] | None:
        """What a key stands for: requests in turn name one snapshot. None without a key."""
        if self.key is None:
            return None
        parameters = (self.volume_id, self.snapshot_name, self.description)
        return (self.account, self.region, self.key, *parameters)


class Replica:
    """One process of dcproxy. A crash ends its tasks where they are.

    It serves as many requests at once as it has ``threads`` (0: any number); the others wait.
    """

    def __init__(
        self,
        world: "World",
        number: int,
        start: Callable[[], replica.Application],
        threads: int = 0,
    ) -> None:
        self.name = f"replica{number}"
        self.is_up = True
        self.crashes = 0
        self._world = world
        self._start = start
        self._application = start()
        self._threads = threads
        self._waiting: deque[tuple[ClientRequest, Event]] = deque()
        self._serving: dict[Task, tuple[ClientRequest, Event]] = {}

    def serve(self, request: ClientRequest, ended: Event) -> None:
        """Accept a request; ``ended`` is set when it is answered or the replica crashes."""
        if self._threads and len(self._serving) >= self._threads:
            self._waiting.append((request, ended))
            return
        task = self._world.scheduler.spawn(
            lambda: self._serve(request, ended), f"{self.name}/{request.name}", request
        )
        self._serving[task] = (request, ended)

    def _serve(self, request: ClientRequest, ended: Event) -> None:
        world = self._world
        request.started_at = world.scheduler.now
        request.worker = (self.name, self.crashes)
        environ = replica.environ_of(request)
        world.note(f"{request.method} {environ['PATH_INFO']} key={request.key}")
        try:
            status, headers, body = replica.call(self._application, environ)
        except Exception as error:
            request.kind, request.message = "exception", repr(error)
        else:
            request.status, request.kind = status, replica.kind_of(status, body)
            if request.kind == "created":
                request.snapshot_id = replica.snapshot_id_of(headers)
            elif world.is_traced:
                request.message = body.decode("utf-8", "replace")
        request.answered_at = world.scheduler.now
        world.note(f"answers {request.status} {request.kind} {request.snapshot_id}".rstrip())
        del self._serving[world.scheduler.current]
        ended.set()
        if self._waiting:
            self.serve(*self._waiting.popleft())

    def crash(self, restart_after: float) -> None:
        """End like a process that is killed: nothing that runs here goes on, no cleanup."""
        if not self.is_up:
            return
        self._world.note(f"{self.name} crashes")
        self.is_up = False
        self._world.scheduler.call_later(restart_after, self._restart)
        self.crashes += 1
        for request, ended in self._waiting:
            request.has_crashed = True
            ended.set()
        self._waiting.clear()
        for task, (request, ended) in self._serving.items():
            task.is_killed = True
            request.has_crashed = True
            ended.set()
        self._serving.clear()

    def _restart(self) -> None:
        self._application = self._start()
        self.is_up = True

    def runs(self, task: Task) -> bool:
        """Tell whether it is one of its requests."""
        return task in self._serving


@dataclass(slots=True, kw_only=True)
class ClientPlan:
    """What a client does. ``start_at`` and ``patience`` are in seconds.

    It sends its create at most ``tries`` times, waiting ``pauses`` in between, each to the replica
    that a function of the try names. ``repeats_unkeyed``: also without a key, also after an answer
    that does not know the outcome. ``deletes_after``: deletes its snapshot so much later.
    ``is_reader``: it requests the list of snapshots ``tries`` times instead.
    """

    name: str
    account: str
    region: str
    volume_id: str
    snapshot_name: str = ""
    description: str = ""
    key: str | None = None
    start_at: float = 0.0
    patience: float = 60.0
    tries: int = 3
    pauses: tuple[float, float] = (0.5, 5.0)
    repeats_unkeyed: bool = False
    deletes_after: float | None = None
    is_reader: bool = False
    choose_replica: Callable[[int], int] | None = None
    _count: int = field(default=0, init=False)


class Client:
    def __init__(self, world: "World", plan: ClientPlan) -> None:
        self._world = world
        self._plan = plan

    def run(self) -> None:
        plan, scheduler = self._plan, self._world.scheduler
        scheduler.sleep(plan.start_at)
        if plan.is_reader:
            for number in range(plan.tries):
                self._send(self._request(method="GET"), number)
                scheduler.sleep(scheduler.random.uniform(*plan.pauses))
            return
        for number in range(plan.tries):
            request = self._request(
                method="POST",
                key=plan.key,
                volume_id=plan.volume_id,
                snapshot_name=plan.snapshot_name,
                description=plan.description,
            )
            answer = self._send(request, number)
            if answer == "created":
                if plan.deletes_after is not None:
                    scheduler.sleep(plan.deletes_after)
                    self._delete(request.snapshot_id)
                return
            if answer in ("refused", "internal_error", "exception"):
                return
            is_certain = answer in ("throttled", "unavailable", "not_connected")
            if not (plan.key is not None or is_certain or plan.repeats_unkeyed):
                return
            scheduler.sleep(scheduler.random.uniform(*plan.pauses))

    def _delete(self, snapshot_id: str) -> None:
        for number in range(2):
            request = self._request(method="DELETE", target_id=snapshot_id)
            if self._send(request, number) in ("ok", "refused"):
                return

    def _request(self, **fields: Any) -> ClientRequest:
        plan = self._plan
        plan._count += 1
        return ClientRequest(
            name=f"{plan.name}.{plan._count}",
            client=plan.name,
            account=plan.account,
            region=plan.region,
            **fields,
        )

    def _send(self, request: ClientRequest, number: int) -> str:
        """Send a request and give the kind of its answer, as this client sees it."""
        world, plan, scheduler = self._world, self._plan, self._world.scheduler
        random = scheduler.random
        if plan.choose_replica:
            server = world.replicas[plan.choose_replica(number)]
        else:
            server = world.replicas[random.randrange(len(world.replicas))]
        scheduler.sleep(random.uniform(0.001, 0.02))
        if not server.is_up:
            world.note(f"cannot connect to {server.name}")
            return "not_connected"
        world.requests.append(request)
        ended = Event(scheduler)
        server.serve(request, ended)
        if not ended.wait(plan.patience):
            request.left_at = scheduler.now
            world.note(f"leaves {request.name}")
            return "no_answer"
        return request.kind
