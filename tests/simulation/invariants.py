"""What must hold once a world is quiet, whatever happened in it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

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
DIFFERENT_ANSWERS = "l: 201s for one Idempotency-Key name different snapshots"
UNSEARCHED_CREATE = "m: a create sent without the search that must precede it"
CREATE_WITHOUT_CLIENT = "n: a create sent first after its client had left"

_OLDEST_VIEW = 5.0

_LOOKED_AFTER = 200.0
"""Seconds after its answer for which dcproxy certainly looks for duplicates again.

It does so for five minutes; slow calls may take the place of the last looks.
"""


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is promised, and under which assumptions. Times are in seconds.

    ``deadline`` is the time limit of a request (e), by default the one in the settings of the
    world. A duplicate (a, b) is held against the request that made it, which has to delete it.
    It is excused in these cases only:

    - ``excuses_copies``: the network made a copy of a create. dcproxy requires that nothing between
      it and EC2 repeats requests: it counts the snapshots that it may have made, and a copy is one
      more. So when EC2 carried out a copy of a create, the snapshots of that request are excused,
      unless its last complete search began when every read replica showed them. A request without
      a key does not search when its response arrives: then both snapshots stay. A request with a
      key searches in any case, and deletes a copy that it can see.
    - ``excuses_warnings``: dcproxy told the client or the log that there may be a duplicate, and
      could not see it or delete it later: a read replica learnt of it more than 200 seconds after
      the response, or a call failed so late. dcproxy looks for duplicates for five minutes.
    - ``excuses_crashes``: the replica crashed before the request and its background job had ended.
    - EC2 behaved worse than assumed on the command line: it made the snapshot more than
      ``effect_delay`` after the request, or a read replica learnt of it after more than ``lag``.
      By default, nothing is excused for that.

    A denied snapshot (g) is excused as a copy, and with a key also as a duplicate: that client may
    repeat its request. It stays as well when a deletion of dcproxy failed and a client has deleted
    the older snapshot of the key before the next one: then it is the only one of its key. The
    other invariants hold without exception.
    """

    deadline: float | None = None
    effect_delay: float | None = None
    lag: float | None = None
    excuses_copies: bool = True
    excuses_warnings: bool = True
    excuses_crashes: bool = True


@dataclass(frozen=True)
class Outcome:
    """A world that is quiet.

    ``signatures`` are (request, access key that signed) that differ. ``deadline`` is the option.
    """

    requests: Sequence[ClientRequest]
    snapshots: dict[str, Snapshot]
    signatures: Sequence[tuple[ClientRequest, str]] = ()
    deadline: float = 40.0

    @cached_property
    def copied(self) -> set[str]:
        """The names of the requests whose creates were carried out twice."""
        return {s.sender.name for s in self.snapshots.values() if s.is_copy}


def violations(outcome: Outcome, rules: Rules) -> list[Violation]:
    """Check all invariants."""
    return [
        *_duplicates(outcome, rules),
        *_answers(outcome, rules),
        *_different_answers(outcome),
        *_creates(outcome),
        *_deletions(outcome),
        *_deletions_of_good_ones(outcome),
        *_false_refusals(outcome, rules),
        *(
            Violation(FOREIGN_SIGNATURE, f"{request.name} signed with {key}")
            for request, key in outcome.signatures
        ),
    ]


def _counts(snapshot: Snapshot, outcome: Outcome, rules: Rules) -> bool:
    sender: ClientRequest = snapshot.sender
    shown_at = max(snapshot.visible_at)
    has_seen_all = sender.searched_at is not None and sender.searched_at >= shown_at
    if rules.excuses_copies and sender.name in outcome.copied and not has_seen_all:
        return False
    return (rules.effect_delay is None or snapshot.effect_delay <= rules.effect_delay) and (
        rules.lag is None or shown_at - snapshot.made_at <= rules.lag
    )


def _is_excused(snapshot: Snapshot, rules: Rules) -> bool:
    """Tell whether the request that made a duplicate could not delete it, and said so."""
    sender: ClientRequest = snapshot.sender
    if sender.has_crashed:
        return rules.excuses_crashes
    is_unknown = sender.is_warned or sender.kind == "unknown"
    if not (rules.excuses_warnings and is_unknown and sender.answered_at is not None):
        return False
    looks_until = sender.answered_at + _LOOKED_AFTER
    return max(snapshot.visible_at) > looks_until or (sender.failed_call_at or 0.0) > looks_until


def _duplicates(outcome: Outcome, rules: Rules) -> Iterator[Violation]:
    by_request: dict[str, list[Snapshot]] = defaultdict(list)
    by_group: dict[tuple[str, ...], list[Snapshot]] = defaultdict(list)
    for snapshot in outcome.snapshots.values():
        sender: ClientRequest = snapshot.sender
        if not _counts(snapshot, outcome, rules):
            continue
        if sender.group is None:
            # Once the answered one has failed, a good one stays as well.
            has_failed = snapshot.id == sender.snapshot_id and not snapshot.is_usable
            if snapshot.deleted_at is None and not has_failed:
                by_request[sender.name].append(snapshot)
        elif snapshot.is_usable:
            by_group[sender.group].append(snapshot)
    for group, found in by_group.items():
        # Each request deletes what it made in addition to the oldest one.
        _, *duplicates = sorted(found, key=lambda snapshot: (snapshot.start_time, snapshot.id))
        if not all(_is_excused(snapshot, rules) for snapshot in duplicates):
            yield Violation(DUPLICATE_OF_KEY, f"{group[2]}: {_named(found)}")
    for name, found in by_request.items():
        # When all have failed, none is worth a deletion.
        is_any_good = any(snapshot.is_usable for snapshot in found)
        if (
            len(found) > 1
            and is_any_good
            and not any(_is_excused(snapshot, rules) for snapshot in found)
        ):
            yield Violation(DUPLICATE_OF_REQUEST, f"{name}: {_named(found)}")


def _answers(outcome: Outcome, rules: Rules) -> Iterator[Violation]:
    deadline = outcome.deadline if rules.deadline is None else rules.deadline
    for request in outcome.requests:
        if request.kind in ("exception", "internal_error"):
            yield Violation(INTERNAL_ERROR, f"{request.name}: {request.message}")
        # Each page of a list has the time limit of a request.
        if request.method != "GET" and request.answered_at is not None:
            took = request.answered_at - request.started_at
            if took > deadline + 0.001:
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


def _different_answers(outcome: Outcome) -> Iterator[Violation]:
    """Compare the answers for a key. Once a snapshot has failed, another one may be answered."""
    by_group: dict[tuple[str, ...], dict[str, Snapshot]] = defaultdict(dict)
    for request in outcome.requests:
        if request.kind == "created" and request.group is not None:
            snapshot = outcome.snapshots.get(request.snapshot_id)
            if (
                snapshot is not None
                and snapshot.end_state != "error"
                and not _was_deleted_by_a_client(request, outcome)
            ):
                by_group[request.group][snapshot.id] = snapshot
    for group, answered in by_group.items():
        if len(answered) > 1:
            yield Violation(DIFFERENT_ANSWERS, f"{group[2]}: {_named(answered.values())}")


def _creates(outcome: Outcome) -> Iterator[Violation]:
    """Check when creates were sent: with a key, and after a lost response, a search comes first."""
    for request in outcome.requests:
        if request.unsearched_sends:
            yield Violation(UNSEARCHED_CREATE, f"{request.name}: {request.unsearched_sends}")
        if request.sends_without_client:
            yield Violation(CREATE_WITHOUT_CLIENT, f"{request.name} left at {request.left_at:.3f}")


def _deletions(outcome: Outcome) -> Iterator[Violation]:
    for snapshot in outcome.snapshots.values():
        by: ClientRequest | None = snapshot.deleted_by
        if by is None or _is_deletion_of(by, snapshot):
            continue
        sender: ClientRequest = snapshot.sender
        if by is not sender:
            yield Violation(
                FOREIGN_DELETION, f"{by.name} deleted {snapshot.id}, made by {sender.name}"
            )


def _deletions_of_good_ones(outcome: Outcome) -> Iterator[Violation]:
    for snapshot in outcome.snapshots.values():
        at, by = snapshot.deleted_at, snapshot.deleted_by
        if at is None or snapshot.end_state == "error" or _is_deletion_of(by, snapshot):
            continue
        # What was seen may be as old as that: one search can need many slow calls.
        searched_at = snapshot.deleter_searched_at
        seen_at = min(at, at if searched_at is None else searched_at) - _OLDEST_VIEW
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
    # Reads show a deleted snapshot until every read replica has learnt of the deletion.
    return (
        snapshot.deleted_at is not None
        and max(snapshot.gone_at, default=snapshot.deleted_at) <= at
        and not _is_deletion_of(snapshot.deleted_by, snapshot)
    )


def _false_refusals(outcome: Outcome, rules: Rules) -> Iterator[Violation]:
    made = defaultdict(list)
    for snapshot in outcome.snapshots.values():
        sender: ClientRequest = snapshot.sender
        may_repeat = sender.key is not None
        if (
            snapshot.is_usable
            and _counts(snapshot, outcome, rules)
            and not (may_repeat and _is_excused(snapshot, rules))
        ):
            made[sender.name].append(snapshot)
    for request in outcome.requests:
        if (
            request.kind in ("refused", "throttled", "unavailable")
            and made[request.name]
            and not (request.is_warned and _has_lost_an_older_one(request, outcome))
            and not _is_answered(request, made[request.name], outcome.requests)
        ):
            detail = f"{request.name} {request.status} {request.kind}: {_named(made[request.name])}"
            yield Violation(FALSE_REFUSAL, detail)


def _has_lost_an_older_one(request: ClientRequest, outcome: Outcome) -> bool:
    """Tell whether a snapshot of the key, which stood in the way of the request, has gone since."""
    has_failed = request.scope is not None and any(
        snapshot.sender.scope == request.scope and snapshot.end_state == "error"
        for snapshot in outcome.snapshots.values()
    )
    return has_failed or _was_deleted_by_a_client(request, outcome)


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
