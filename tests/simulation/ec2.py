"""The model of EC2 on the clock of a world: many accounts, and limits and faults by chance.

Writes take effect at once and for all. Reads come from one of several read replicas, each of which
learns of a write some time later, so that a later read may show less than an earlier one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from tests.support import ec2_model
from tests.support.ec2_model import EC2Model
from tests.support.ec2_responses import (
    EC2Response,
    created_response,
    deleted_response,
    error_response,
    tags_of,
)

CREATE_INTERVAL = 15.0
"""Seconds between two snapshots of a volume, where that limit holds."""

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Request:
    """One call. ``sender`` is the request to dcproxy that made it.

    ``is_copy``: the network has duplicated it. ``delay`` is the time from sending the request to
    its effect.
    """

    action: str
    parameters: dict[str, str]
    access_key_id: str
    region: str
    sender: Any = None
    is_copy: bool = False
    delay: float = 0.0


@dataclass(kw_only=True)
class Snapshot(ec2_model.Snapshot):
    """``end_state`` is the one after ``pending``, from ``ends_at`` on.

    ``visible_at`` and ``gone_at`` are the times at which each read replica learns of the creation
    and of the deletion. ``sender`` made it; ``is_copy``: by a request that the network duplicated.
    ``effect_delay`` is the time from sending the request to its effect.
    """

    account: str
    region: str
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

    @property
    def is_usable(self) -> bool:
        """Whether it is there, and not in the state ``error``, once the world is quiet."""
        return self.deleted_at is None and self.end_state != "error"

    def is_shown(self, replica: int, at: float) -> bool:
        return self.visible_at[replica] <= at and not (self.gone_at and self.gone_at[replica] <= at)


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


class EC2(EC2Model):
    """``snapshots`` are all that were ever made, by their ids."""

    def __init__(self, behaviour: Behaviour, random: Random, clock: Callable[[], float]) -> None:
        super().__init__()
        self.behaviour = behaviour
        self.owned_volumes: set[tuple[str, str, str]] = set()
        self._random = random
        self._clock = clock
        self._buckets: dict[tuple[str, str], TokenBucket] = {}
        self._last_created: dict[tuple[str, str, str], float] = {}

    def execute(self, request: Request) -> EC2Response:
        """Carry out a request at this moment."""
        behaviour = self.behaviour
        is_throttled = behaviour.throttle_rate and self._random.random() < behaviour.throttle_rate
        if is_throttled or (behaviour.bucket and not self._bucket(request).take(self._clock())):
            return error_response("RequestLimitExceeded", 503)
        return super().execute(request)

    def _bucket(self, request: Request) -> TokenBucket:
        bucket = self._buckets.get((request.access_key_id, request.action))
        if bucket is None:
            capacity, rate = self.behaviour.bucket or (0.0, 0.0)
            bucket = TokenBucket(capacity, rate, capacity, self._clock())
            self._buckets[request.access_key_id, request.action] = bucket
        return bucket

    def CreateSnapshot(self, parameters: dict[str, str]) -> EC2Response:  # noqa: N802
        request, now, behaviour, random = self.request, self._clock(), self.behaviour, self._random
        volume = (request.access_key_id, request.region, parameters.get("VolumeId", ""))
        if volume not in self.owned_volumes:
            return error_response("InvalidVolume.NotFound")
        tags = tags_of(parameters)
        if tags and behaviour.refuses_tags:
            return error_response("UnauthorizedOperation", 403)
        if behaviour.ignored_tags_rate and random.random() < behaviour.ignored_tags_rate:
            tags = {}
        last = self._last_created.get(volume)
        if (
            behaviour.limits_creates_per_volume
            and last is not None
            and now < last + CREATE_INTERVAL
        ):
            return error_response("SnapshotCreationPerVolumeRateExceeded")
        pending = sum(
            (s.account, s.region, s.volume_id) == volume and now < s.ends_at and not s.gone_at
            for s in self.snapshots.values()
        )
        if pending >= behaviour.pending_per_volume:
            return error_response("ConcurrentSnapshotLimitExceeded")
        self._last_created[volume] = now
        skew = random.uniform(-behaviour.clock_skew, behaviour.clock_skew)
        snapshot = Snapshot(
            id=f"snap-{random.getrandbits(68):017x}",
            volume_id=volume[2],
            account=request.access_key_id,
            region=request.region,
            description=parameters.get("Description", ""),
            tags=tags,
            started=EPOCH + timedelta(seconds=now + skew),
            made_at=now,
            visible_at=self._learnt_at(now),
            ends_at=now + random.uniform(*behaviour.pending),
            end_state="error" if random.random() < behaviour.error_rate else "completed",
            sender=request.sender,
            is_copy=request.is_copy,
            effect_delay=request.delay,
        )
        self.snapshots[snapshot.id] = snapshot
        self._update_states()
        return created_response(snapshot.item())

    def _learnt_at(self, now: float) -> tuple[float, ...]:
        low, high = self.behaviour.lag
        return tuple(
            now + self._random.uniform(low, high) for _ in range(self.behaviour.read_replicas)
        )

    def _update_states(self) -> None:
        now = self._clock()
        for snapshot in self.snapshots.values():
            snapshot.status = "pending" if now < snapshot.ends_at else snapshot.end_state

    def seen(self, parameters: dict[str, str]) -> list[Snapshot]:
        self._update_states()
        replica, now = self._random.randrange(self.behaviour.read_replicas), self._clock()
        owner = (self.request.access_key_id, self.request.region)
        return [
            snapshot
            for snapshot in self.snapshots.values()
            if (snapshot.account, snapshot.region) == owner and snapshot.is_shown(replica, now)
        ]

    def arrange(self, found: list[Snapshot]) -> None:
        self._random.shuffle(found)

    def cut(self, parameters: dict[str, str], found: list[Snapshot]) -> tuple[int, bool]:
        size, is_last = super().cut(parameters, found)
        if not self.behaviour.has_short_pages:
            return size, is_last
        if "SnapshotId.1" not in parameters:
            size = min(size, self._random.choice((0, 0, 1, 1, 2, 5)))
        # An empty page may be followed by others, and a last one may be empty.
        has_more = len(found) > size or (found[:size] and self._random.random() < 0.3)
        return size, not has_more

    def DeleteSnapshot(self, parameters: dict[str, str]) -> EC2Response:  # noqa: N802
        request, now = self.request, self._clock()
        if self._random.random() < self.behaviour.delete_refusal_rate:
            return error_response("UnauthorizedOperation", 403)
        snapshot = self.snapshots.get(parameters.get("SnapshotId", ""))
        if (
            snapshot is None
            or snapshot.deleted_at is not None
            or (snapshot.account, snapshot.region) != (request.access_key_id, request.region)
        ):
            return error_response("InvalidSnapshot.NotFound")
        if self.behaviour.delete_by_lagging_read:
            replica = self._random.randrange(self.behaviour.read_replicas)
            if not snapshot.is_shown(replica, now):
                return error_response("InvalidSnapshot.NotFound")
        snapshot.deleted_at = now
        snapshot.deleted_by = request.sender
        snapshot.deleter_searched_at = getattr(request.sender, "searched_at", None)
        snapshot.gone_at = self._learnt_at(now)
        return deleted_response()
