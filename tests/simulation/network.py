"""The network between dcproxy and EC2: each call has a fate, drawn from the seed."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from greenlet import GreenletExit

from tests.simulation.ec2 import EC2, Request
from tests.simulation.scheduler import Scheduler
from tests.support.ec2_responses import EC2Response, error_response

FATES = (
    "refused_connection",
    "connect_timeout",
    "lost_request",
    "lost_response",
    "late_response",
    "late_effect",
    "duplicated",
    "error_without_effect",
    "error_with_effect",
    "unreadable_response",
)


class NetworkError(Exception):
    """``kind`` is one of ``refused``, ``connect_timeout``, ``read_timeout``, ``closed``.

    ``is_proxied``: the connection was one to a proxy.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.is_proxied = False


@dataclass(slots=True, kw_only=True)
class Faults:
    """``rates`` are the probabilities of the fates of a call; the rest is delivered.

    ``only`` limits the faults to one action. Within ``outage`` (start, end, fate) nearly all calls
    have that fate. ``has_proxy``: there is a proxy on the way. ``script``
    gives the fates of the first calls of an action, for tests.
    """

    rates: dict[str, float] = field(default_factory=dict)
    only: str | None = None
    latency: tuple[float, float] = (0.01, 0.15)
    late_effect: tuple[float, float] = (0.0, 5.0)
    crash_rate: float = 0.0
    outage: tuple[float, float, str] | None = None
    has_proxy: bool = False
    script: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class _Exchange:
    request: Request
    sent_at: float
    response: EC2Response | None = None


class Network:
    """``crash`` ends the replica of the current task at once and does not come back.

    ``fates`` counts what happened to the calls.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        ec2: EC2,
        faults: Faults,
        crash: Callable[[], None],
        note: Callable[[str], None] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._ec2 = ec2
        self._faults = replace(faults, script={k: list(v) for k, v in faults.script.items()})
        self._crash = crash
        self._note = note
        self.fates: dict[str, int] = {}

    def send(self, request: Request, connect_timeout: float, read_timeout: float) -> EC2Response:
        """Send a request from the current task. Raises ``NetworkError``."""
        scheduler = self._scheduler
        if scheduler.is_closed:
            raise GreenletExit
        self._crash_sometimes()
        fate = self._fate(request.action)
        self.fates[fate] = self.fates.get(fate, 0) + 1
        if self._note:
            self._note(f"-> EC2 {_summary(request)} [{fate}]")
        exchange = _Exchange(request, scheduler.now)
        try:
            response = self._deliver(fate, exchange, connect_timeout, read_timeout)
        except NetworkError as error:
            error.is_proxied = self._faults.has_proxy
            if self._note:
                self._note(f"<- EC2 {request.action}: {error.kind}")
            self._crash_sometimes()
            raise
        if self._note:
            self._note(f"<- EC2 {request.action}: {response.status} {response.error_code}".rstrip())
        self._crash_sometimes()
        return response

    def _deliver(
        self, fate: str, exchange: _Exchange, connect_timeout: float, read_timeout: float
    ) -> EC2Response:
        scheduler, random = self._scheduler, self._scheduler.random
        up, down = random.uniform(*self._faults.latency), random.uniform(*self._faults.latency)
        if fate == "refused_connection":
            scheduler.sleep(min(up, connect_timeout))
            raise NetworkError("refused")
        if fate == "connect_timeout":
            scheduler.sleep(connect_timeout)
            raise NetworkError("connect_timeout")
        breaks = fate in ("lost_request", "late_effect") and random.random() < 0.5
        ends_after, error = read_timeout, "read_timeout"
        if breaks and up < read_timeout:
            ends_after, error = up, "closed"
        if fate == "lost_request":
            scheduler.sleep(ends_after)
            raise NetworkError(error)
        if fate == "late_effect":
            self._arrive_later(exchange, ends_after + random.uniform(*self._faults.late_effect))
            scheduler.sleep(ends_after)
            raise NetworkError(error)
        if fate == "late_response":
            self._arrive_later(exchange, random.uniform(0, read_timeout))
            scheduler.sleep(read_timeout)
            raise NetworkError("read_timeout")
        if fate == "error_without_effect":
            if up + down > read_timeout:
                scheduler.sleep(read_timeout)
                raise NetworkError("read_timeout")
            scheduler.sleep(up + down)
            code = random.choice(("InternalError", "Unavailable"))
            return error_response(code, 500 if code == "InternalError" else 503)
        if up + down > read_timeout:
            self._arrive_later(exchange, up)
            scheduler.sleep(read_timeout)
            raise NetworkError("read_timeout")
        self._arrive_later(exchange, up)
        if fate == "duplicated":
            self._arrive_later(exchange, up + random.uniform(0, 5), is_copy=True)
        scheduler.sleep(up + down)
        if fate == "lost_response":
            raise NetworkError("closed")
        if fate == "error_with_effect":
            return error_response("InternalError", 500)
        if fate == "unreadable_response":
            return EC2Response(b"<html>Welcome!</html>")
        assert exchange.response is not None
        return exchange.response

    def _arrive_later(self, exchange: _Exchange, delay: float, *, is_copy: bool = False) -> None:
        # A callback, not the task that sent it: the request arrives even if its replica crashes.
        self._scheduler.call_later(delay, self._arrive, exchange, is_copy)

    def _arrive(self, exchange: _Exchange, is_copy: bool) -> None:
        delay = self._scheduler.now - exchange.sent_at
        response = self._ec2.execute(replace(exchange.request, is_copy=is_copy, delay=delay))
        if self._note:
            copy = " (copy)" if is_copy else ""
            what = response.error_code or "done"
            ids = " ".join(ids_of(response.body))
            self._note(f"   EC2 {_summary(exchange.request)}{copy}: {what} {ids}".rstrip())
        if exchange.response is None:
            exchange.response = response

    def _fate(self, action: str) -> str:
        faults, random = self._faults, self._scheduler.random
        script = faults.script.get(action)
        if script:
            return script.pop(0)
        if faults.outage:
            start, end, fate = faults.outage
            if start <= self._scheduler.now < end and random.random() < 0.9:
                return fate
        if not faults.rates or (faults.only and faults.only != action):
            return "delivered"
        drawn = random.random()
        for fate, rate in faults.rates.items():
            drawn -= rate
            if drawn < 0:
                return fate
        return "delivered"

    def _crash_sometimes(self) -> None:
        if self._faults.crash_rate and self._scheduler.random.random() < self._faults.crash_rate:
            self._crash()


def _summary(request: Request) -> str:
    names = ("VolumeId", "SnapshotId", "SnapshotId.1", "Filter.1.Value.1", "NextToken")
    values = [request.parameters[name] for name in names if name in request.parameters]
    sender = getattr(request.sender, "name", "?")
    return " ".join([request.action, *values, f"of {sender}"])


def ids_of(body: bytes) -> list[str]:
    """Give the ids of the snapshots in a response."""
    return [part.split(b"<", 1)[0].decode() for part in body.split(b"<snapshotId>")[1:]]
