"""Model of EC2: CreateSnapshot, DescribeSnapshots and DeleteSnapshot of many accounts.

Writes take effect at once and for all. Reads come from one of several read replicas, each of which
learns of a write some time later, so that a later read may show less than an earlier one.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from xml.sax.saxutils import escape

CREATE_INTERVAL = 15.0
"""Seconds between two snapshots of a volume, where that limit holds."""

_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Request:
    """One call. ``sender`` is the request to dcproxy that made it."""

    action: str
    parameters: dict[str, str]
    access_key_id: str
    region: str
    sender: Any = None


@dataclass(frozen=True, slots=True)
class Response:
    body: bytes
    status: int = 200
    error_code: str = ""


@dataclass(slots=True)
class Snapshot:
    """``end_state`` is the one after ``pending``, from ``ends_at`` on.

    ``visible_at`` and ``gone_at`` are the times at which each read replica learns of the creation
    and of the deletion. ``sender`` made it; ``is_copy``: by a request that the network duplicated.
    ``effect_delay`` is the time from sending the request to its effect.
    """

    id: str
    volume_id: str
    account: str
    region: str
    description: str
    tags: dict[str, str]
    start_time: str
    made_at: float
    visible_at: tuple[float, ...]
    ends_at: float
    end_state: str
    sender: Any
    is_copy: bool
    effect_delay: float
    deleted_at: float | None = None
    gone_at: tuple[float, ...] = ()
    deleted_by: Any = None
    deleter_searched_at: float | None = None
    _head: str = ""
    _tail: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether it is there, and not in the state ``error``, once the world is quiet."""
        return self.deleted_at is None and self.end_state != "error"

    def is_shown(self, replica: int, at: float) -> bool:
        return self.visible_at[replica] <= at and not (self.gone_at and self.gone_at[replica] <= at)

    def inner_xml(self, at: float) -> str:
        if not self._head:
            tags = "".join(
                f"<item><key>{escape(key)}</key><value>{escape(value)}</value></item>"
                for key, value in self.tags.items()
            )
            self._head = f"<snapshotId>{self.id}</snapshotId><volumeId>{self.volume_id}</volumeId>"
            self._tail = (
                f"<startTime>{self.start_time}</startTime><progress>100%</progress>"
                f"<ownerId>{self.account}</ownerId><volumeSize>8</volumeSize>"
                f"<description>{escape(self.description)}</description><tagSet>{tags}</tagSet>"
            )
        state = "pending" if at < self.ends_at else self.end_state
        return f"{self._head}<status>{state}</status>{self._tail}"


@dataclass(slots=True)
class TokenBucket:
    """Throttling: ``capacity`` calls at once, then ``rate`` calls a second."""

    capacity: float
    rate: float
    tokens: float
    updated_at: float = 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(self.capacity, self.tokens + (now - self.updated_at) * self.rate)
        self.updated_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """How this EC2 behaves. Times are in seconds, ``_rate`` is a probability per call."""

    read_replicas: int = 1
    lag: tuple[float, float] = (0.0, 0.0)
    """Time until a read replica learns of a write."""
    clock_skew: float = 0.0
    """Of the start times of snapshots, in both directions."""
    pending: tuple[float, float] = (5.0, 60.0)
    error_rate: float = 0.0
    """Snapshots that end in the state ``error``."""
    has_short_pages: bool = False
    refuses_tags: bool = False
    """CreateSnapshot with tags needs a permission that no caller has."""
    ignored_tags_rate: float = 0.0
    """Creates whose tags are ignored."""
    pending_per_volume: int = 5
    """Snapshots of a volume that may be pending at once."""
    limits_creates_per_volume: bool = False
    bucket: tuple[float, float] | None = None
    """Capacity and rate of the token bucket of an account and action."""
    throttle_rate: float = 0.0
    delete_refusal_rate: float = 0.0
    delete_by_lagging_read: bool = False
    """DeleteSnapshot does not find what its read replica has not learnt of."""


class EC2:
    """``snapshots`` are all that were ever made, by their ids."""

    def __init__(self, behaviour: Behaviour, random: Random, clock: Callable[[], float]) -> None:
        self.behaviour = behaviour
        self.snapshots: dict[str, Snapshot] = {}
        self.volumes: set[tuple[str, str, str]] = set()
        self._random = random
        self._clock = clock
        self._buckets: dict[tuple[str, str], TokenBucket] = {}
        self._last_created: dict[tuple[str, str, str], float] = {}
        self._cursors: dict[str, list[Snapshot]] = {}
        self._requests = 0

    def add_volume(self, account: str, region: str, volume_id: str) -> None:
        self.volumes.add((account, region, volume_id))

    def receive(
        self, request: Request, *, is_copy: bool = False, effect_delay: float = 0.0
    ) -> Response:
        """Carry out a request at this moment."""
        self._requests += 1
        behaviour = self.behaviour
        if behaviour.throttle_rate and self._random.random() < behaviour.throttle_rate:
            return self._refusal("RequestLimitExceeded", 503)
        if behaviour.bucket and not self._bucket(request).take(self._clock()):
            return self._refusal("RequestLimitExceeded", 503)
        if request.action == "CreateSnapshot":
            return self._create(request, is_copy, effect_delay)
        if request.action == "DescribeSnapshots":
            return self._describe(request)
        if request.action == "DeleteSnapshot":
            return self._delete(request)
        return self._refusal("InvalidAction")

    def _bucket(self, request: Request) -> TokenBucket:
        bucket = self._buckets.get((request.access_key_id, request.action))
        if bucket is None:
            capacity, rate = self.behaviour.bucket or (0.0, 0.0)
            bucket = TokenBucket(capacity, rate, capacity, self._clock())
            self._buckets[request.access_key_id, request.action] = bucket
        return bucket

    def _create(self, request: Request, is_copy: bool, effect_delay: float) -> Response:
        parameters, now, behaviour = request.parameters, self._clock(), self.behaviour
        volume = (request.access_key_id, request.region, parameters.get("VolumeId", ""))
        if volume not in self.volumes:
            return self._refusal("InvalidVolume.NotFound")
        tags = _tags(parameters)
        if tags and behaviour.refuses_tags:
            return self._refusal("UnauthorizedOperation", 403)
        if behaviour.ignored_tags_rate and self._random.random() < behaviour.ignored_tags_rate:
            tags = {}
        last = self._last_created.get(volume)
        if (
            behaviour.limits_creates_per_volume
            and last is not None
            and now < last + CREATE_INTERVAL
        ):
            return self._refusal("SnapshotCreationPerVolumeRateExceeded")
        pending = sum(
            (s.account, s.region, s.volume_id) == volume and now < s.ends_at and not s.gone_at
            for s in self.snapshots.values()
        )
        if pending >= behaviour.pending_per_volume:
            return self._refusal("ConcurrentSnapshotLimitExceeded")
        self._last_created[volume] = now
        random = self._random
        skew = random.uniform(-behaviour.clock_skew, behaviour.clock_skew)
        started = EPOCH + timedelta(seconds=now + skew)
        snapshot = Snapshot(
            id=f"snap-{random.getrandbits(68):017x}",
            volume_id=volume[2],
            account=request.access_key_id,
            region=request.region,
            description=parameters.get("Description", ""),
            tags=tags,
            start_time=started.strftime("%Y-%m-%dT%H:%M:%S.")
            + f"{started.microsecond // 1000:03}Z",
            made_at=now,
            visible_at=self._learnt_at(now),
            ends_at=now + random.uniform(*behaviour.pending),
            end_state="error" if random.random() < behaviour.error_rate else "completed",
            sender=request.sender,
            is_copy=is_copy,
            effect_delay=effect_delay,
        )
        self.snapshots[snapshot.id] = snapshot
        return self._answer("CreateSnapshotResponse", snapshot.inner_xml(now))

    def _learnt_at(self, now: float) -> tuple[float, ...]:
        low, high = self.behaviour.lag
        return tuple(
            now + self._random.uniform(low, high) for _ in range(self.behaviour.read_replicas)
        )

    def _describe(self, request: Request) -> Response:
        parameters, now = request.parameters, self._clock()
        replica = self._random.randrange(self.behaviour.read_replicas)
        token = parameters.get("NextToken")
        if token:
            found = self._cursors.pop(token, None)
            if found is None:
                return self._refusal("InvalidParameterValue")
        else:
            found = [
                snapshot
                for snapshot in self.snapshots.values()
                if snapshot.account == request.access_key_id
                and snapshot.region == request.region
                and snapshot.is_shown(replica, now)
            ]
            ids = _list(parameters, "SnapshotId")
            if ids:
                found = [snapshot for snapshot in found if snapshot.id in ids]
                if len(found) < len(set(ids)):
                    return self._refusal("InvalidSnapshot.NotFound")
            for name, values in _filters(parameters):
                matches = _matcher(name, values)
                found = [snapshot for snapshot in found if matches(snapshot)]
            self._random.shuffle(found)
        size = int(parameters.get("MaxResults", 1000))
        if self.behaviour.has_short_pages and "SnapshotId.1" not in parameters:
            size = min(size, self._random.choice((0, 0, 1, 1, 2, 5)))
        page, rest = found[:size], found[size:]
        # An empty page may be followed by others, and a last one may be empty.
        more = ""
        if rest or (self.behaviour.has_short_pages and page and self._random.random() < 0.3):
            more = f"page-{self._requests}"
            self._cursors[more] = rest
        items = "".join(f"<item>{snapshot.inner_xml(now)}</item>" for snapshot in page)
        next_token = f"<nextToken>{more}</nextToken>" if more else ""
        return self._answer(
            "DescribeSnapshotsResponse", f"<snapshotSet>{items}</snapshotSet>{next_token}"
        )

    def _delete(self, request: Request) -> Response:
        now = self._clock()
        if self._random.random() < self.behaviour.delete_refusal_rate:
            return self._refusal("UnauthorizedOperation", 403)
        snapshot = self.snapshots.get(request.parameters.get("SnapshotId", ""))
        if (
            snapshot is None
            or snapshot.deleted_at is not None
            or (snapshot.account, snapshot.region) != (request.access_key_id, request.region)
        ):
            return self._refusal("InvalidSnapshot.NotFound")
        if self.behaviour.delete_by_lagging_read:
            replica = self._random.randrange(self.behaviour.read_replicas)
            if not snapshot.is_shown(replica, now):
                return self._refusal("InvalidSnapshot.NotFound")
        snapshot.deleted_at = now
        snapshot.deleted_by = request.sender
        snapshot.deleter_searched_at = getattr(request.sender, "searched_at", None)
        snapshot.gone_at = self._learnt_at(now)
        return self._answer("DeleteSnapshotResponse", "<return>true</return>")

    def _answer(self, root: str, inner: str) -> Response:
        return Response(
            f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{_NAMESPACE}">'
            f"<requestId>request-{self._requests}</requestId>{inner}</{root}>".encode()
        )

    def _refusal(self, code: str, status: int = 400) -> Response:
        return refusal(code, status, f"request-{self._requests}")


def refusal(code: str, status: int, request_id: str = "request") -> Response:
    body = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>Refused by the model.</Message>"
        f"</Error></Errors><RequestID>{request_id}</RequestID></Response>"
    )
    return Response(body.encode(), status, code)


def _list(parameters: dict[str, str], prefix: str) -> list[str]:
    values: list[str] = []
    while (name := f"{prefix}.{len(values) + 1}") in parameters:
        values.append(parameters[name])
    return values


def _tags(parameters: dict[str, str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    prefix = "TagSpecification.1.Tag"
    while f"{prefix}.{len(tags) + 1}.Key" in parameters:
        number = len(tags) + 1
        tags[parameters[f"{prefix}.{number}.Key"]] = parameters.get(f"{prefix}.{number}.Value", "")
    return tags


def _filters(parameters: dict[str, str]) -> list[tuple[str, list[str]]]:
    filters: list[tuple[str, list[str]]] = []
    while (name := f"Filter.{len(filters) + 1}.Name") in parameters:
        values = _list(parameters, f"Filter.{len(filters) + 1}.Value")
        filters.append((parameters[name], values))
    return filters


def _matcher(name: str, values: list[str]) -> Callable[[Snapshot], bool]:
    patterns = [
        re.compile(re.escape(value).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
        for value in values
    ]

    def matches(snapshot: Snapshot) -> bool:
        if name.startswith("tag:"):
            value = snapshot.tags.get(name.removeprefix("tag:"))
        elif name == "tag-key":
            return any(p.fullmatch(key) for key in snapshot.tags for p in patterns)
        else:
            value = {"volume-id": snapshot.volume_id, "snapshot-id": snapshot.id}[name]
        return value is not None and any(pattern.fullmatch(value) for pattern in patterns)

    return matches
