"""What must hold once a world is quiet, whatever happened in it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.simulation.actors import ClientRequest
from tests.simulation.ec2 import Snapshot

DUPLICATE_OF_KEY = "a: more than one snapshot for an Idempotency-Key"
DUPLICATE_OF_REQUEST = "b: more than one snapshot for a request without a key"
LOST_SNAPSHOT = "c: a 201 names a snapshot that is not there"
FOREIGN_DELETION = "d: a request deleted what another one made"
LATE_ANSWER = "e: an answer later than the deadline"
FOREIGN_SIGNATURE = "f: a request signed with another caller's key"
FALSE_REFUSAL = "g: an error that denies a snapshot which was made"
WRONG_SNAPSHOT = "h: a 201 names a snapshot with other parameters"
INTERNAL_ERROR = "i: a fault inside dcproxy"
GOOD_ONE_DELETED = "k: a good snapshot deleted although no other good one stays"
NOT_QUIET = "j: the world does not become quiet"


_OLDEST_VIEW = 5.0


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is promised, and under which assumptions. Times are in seconds.

    A snapshot does not count as a duplicate (a, b, g) when EC2 behaved worse than assumed: it was
    made more than ``effect_delay`` after its request was sent, or by a copy of the request that the
    network made (``excuses_copies``), or a read replica learnt of it after more than ``lag``. Nor
    are duplicates held against requests of which dcproxy said that it does not know
    (``excuses_warnings``: an answer or a log line), or that were cut off by a crash
    (``excuses_crashes``). The others hold without exception.
    """

    deadline: float | None = None
    effect_delay: float = 30.0
    lag: float | None = None
    excuses_copies: bool = True
    excuses_warnings: bool = True
    excuses_crashes: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """A world that is quiet. ``signatures`` are (request, access key that signed) that differ."""

    requests: Sequence[ClientRequest]
    snapshots: dict[str, Snapshot]
    signatures: Sequence[tuple[ClientRequest, str]] = ()


def violations(outcome: Outcome, rules: Rules) -> list[Violation]:
    """Check all invariants."""
    return [
        *_duplicates(outcome, rules),
        *_answers(outcome, rules),
        *_deletions(outcome),
        *_deletions_of_good_ones(outcome),
        *_false_refusals(outcome, rules),
        *(
            Violation(FOREIGN_SIGNATURE, f"{request.name} signed with {key}")
            for request, key in outcome.signatures
        ),
    ]


def _counts(snapshot: Snapshot, rules: Rules) -> bool:
    lag = max(snapshot.visible_at) - snapshot.made_at
    return (
        snapshot.effect_delay <= rules.effect_delay
        and not (snapshot.is_copy and rules.excuses_copies)
        and (rules.lag is None or lag <= rules.lag)
    )


def _is_excused(request: ClientRequest, rules: Rules) -> bool:
    is_unknown = request.is_warned or request.kind == "unknown"
    return (is_unknown and rules.excuses_warnings) or (
        request.has_crashed and rules.excuses_crashes
    )


def _duplicates(outcome: Outcome, rules: Rules) -> Iterator[Violation]:
    by_request: dict[str, list[Snapshot]] = defaultdict(list)
    by_group: dict[tuple[str, ...], list[Snapshot]] = defaultdict(list)
    requests_by_group: dict[tuple[str, ...], list[ClientRequest]] = defaultdict(list)
    for request in outcome.requests:
        if request.group:
            requests_by_group[request.group].append(request)
    for snapshot in outcome.snapshots.values():
        sender: ClientRequest = snapshot.sender
        if not _counts(snapshot, rules):
            continue
        if sender.group is None:
            if snapshot.deleted_at is None:
                by_request[sender.name].append(snapshot)
        elif snapshot.is_usable:
            by_group[sender.group].append(snapshot)
    for group, found in by_group.items():
        if len(found) > 1 and not any(_is_excused(r, rules) for r in requests_by_group[group]):
            yield Violation(DUPLICATE_OF_KEY, f"{group[2]}: {_named(found)}")
    for name, found in by_request.items():
        if len(found) > 1 and not _is_excused(found[0].sender, rules):
            yield Violation(DUPLICATE_OF_REQUEST, f"{name}: {_named(found)}")


def _answers(outcome: Outcome, rules: Rules) -> Iterator[Violation]:
    for request in outcome.requests:
        if request.kind in ("exception", "internal_error"):
            yield Violation(INTERNAL_ERROR, f"{request.name}: {request.message}")
        if rules.deadline is not None and request.answered_at is not None:
            took = request.answered_at - request.started_at
            if took > rules.deadline + 0.001:
                yield Violation(LATE_ANSWER, f"{request.name} took {took:.3f} s")
        if request.kind == "created" and not _was_deleted_by_a_client(request, outcome):
            yield from _answered_snapshot(request, outcome.snapshots.get(request.snapshot_id))


def _was_deleted_by_a_client(request: ClientRequest, outcome: Outcome) -> bool:
    """Tell whether a client deleted a snapshot of the key, which other requests may still name."""
    return request.scope is not None and any(
        snapshot.sender.scope == request.scope and _is_deletion_of(snapshot.deleted_by, snapshot)
        for snapshot in outcome.snapshots.values()
    )


def _answered_snapshot(request: ClientRequest, snapshot: Snapshot | None) -> Iterator[Violation]:
    if snapshot is None:
        yield Violation(LOST_SNAPSHOT, f"{request.name}: {request.snapshot_id} never was")
        return
    if snapshot.deleted_at is not None and not _is_deletion_of(snapshot.deleted_by, snapshot):
        yield Violation(
            LOST_SNAPSHOT,
            f"{request.name}: {snapshot.id} was deleted by {snapshot.deleted_by.name}",
        )
    wanted = (request.account, request.region, request.volume_id, request.description)
    made = (snapshot.account, snapshot.region, snapshot.volume_id, snapshot.description)
    if wanted != made or snapshot.tags.get("Name", "") != request.snapshot_name:
        yield Violation(WRONG_SNAPSHOT, f"{request.name}: {snapshot.id}")


def _deletions(outcome: Outcome) -> Iterator[Violation]:
    for snapshot in outcome.snapshots.values():
        by: ClientRequest | None = snapshot.deleted_by
        if by is None or _is_deletion_of(by, snapshot):
            continue
        sender: ClientRequest = snapshot.sender
        has_same_key = by.group is not None and by.group == sender.group
        if by is not sender and not has_same_key:
            yield Violation(
                FOREIGN_DELETION, f"{by.name} deleted {snapshot.id}, made by {sender.name}"
            )


def _deletions_of_good_ones(outcome: Outcome) -> Iterator[Violation]:
    for snapshot in outcome.snapshots.values():
        at, by = snapshot.deleted_at, snapshot.deleted_by
        if at is None or snapshot.end_state == "error" or _is_deletion_of(by, snapshot):
            continue
        # What was seen may be as old as that.
        seen_at = at - _OLDEST_VIEW
        sender: ClientRequest = snapshot.sender
        others = [
            other
            for other in outcome.snapshots.values()
            if other is not snapshot
            and (other.sender is sender or (sender.scope and sender.scope == other.sender.scope))
            and other.made_at <= at
            and not _was_gone(other, seen_at)
        ]
        if not any(other.end_state != "error" or other.ends_at > seen_at for other in others):
            yield Violation(
                GOOD_ONE_DELETED,
                f"{by.name} deleted {snapshot.id} at {at:.3f} for {_named(others)}",
            )


def _was_gone(snapshot: Snapshot, at: float) -> bool:
    # A client may delete its snapshot while another request with its key still deletes duplicates.
    return (
        snapshot.deleted_at is not None
        and snapshot.deleted_at <= at
        and not _is_deletion_of(snapshot.deleted_by, snapshot)
    )


def _false_refusals(outcome: Outcome, rules: Rules) -> Iterator[Violation]:
    made = defaultdict(list)
    for snapshot in outcome.snapshots.values():
        if snapshot.is_usable and _counts(snapshot, rules):
            made[snapshot.sender.name].append(snapshot)
    for request in outcome.requests:
        if (
            request.kind in ("refused", "throttled", "unavailable")
            and made[request.name]
            and not _is_excused(request, rules)
            and not _is_answered(request, made[request.name], outcome.requests)
        ):
            detail = f"{request.name} {request.status} {request.kind}: {_named(made[request.name])}"
            yield Violation(FALSE_REFUSAL, detail)


def _is_answered(
    request: ClientRequest, made: Sequence[Snapshot], requests: Sequence[ClientRequest]
) -> bool:
    """Tell whether another request with the same key was answered with what this one made."""
    ids = {snapshot.id for snapshot in made}
    return request.group is not None and any(
        other.group == request.group and other.snapshot_id in ids for other in requests
    )


def _is_deletion_of(request: ClientRequest | None, snapshot: Snapshot) -> bool:
    return request is not None and request.method == "DELETE" and request.target_id == snapshot.id


def _named(snapshots: Iterable[Snapshot]) -> str:
    return ", ".join(f"{s.id} made by {s.sender.name} at {s.made_at:.3f}" for s in snapshots)
