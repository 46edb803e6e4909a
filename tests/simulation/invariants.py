"""What must hold once a world is quiet, whatever happened in it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from tests.simulation.actors import ClientRequest
from tests.simulation.ec2 import Snapshot

CREATE_THOUGH_FOUND = "a: a create with a key sent although EC2 showed its snapshot everywhere"
DUPLICATE_OF_REQUEST = "b: more than one snapshot for a request without a key, and no report"
LOST_SNAPSHOT = "c: a 201 names a snapshot that is not there"
FOREIGN_DELETION = "d: a request deleted what another one made or may know"
LATE_ANSWER = "e: an answer later than the deadline"
FOREIGN_SIGNATURE = "f: a request signed with another caller's key"
FALSE_REFUSAL = "g: an error that denies a snapshot which was made"
WRONG_SNAPSHOT = "h: a 201 names a snapshot with other parameters"
INTERNAL_ERROR = "i: a fault inside dcproxy"
NOT_QUIET = "j: the world does not become quiet"
GOOD_ONE_DELETED = "k: a good snapshot deleted although no other good one stays"
DIFFERENT_ANSWERS = "l: a repetition is not answered with the oldest good snapshot of its key"
UNSEARCHED_CREATE = "m: a create sent, or answered after two, without the search that must precede"
CREATE_WITHOUT_CLIENT = "n: a create sent first after its client had left"
RESENT_WITH_KEY = "o: a create with a key sent again after a lost response"
EARLY_ANSWER = "p: a new snapshot with a key answered before EC2 showed it, and before 5 s"
NOT_IN_TURN = "q: requests with one key in one worker at the same time"
NOT_REPORTED = "r: a snapshot that may be repeated or has another beside it, and no report"

_OLDEST_VIEW = 5.0
_SHOW_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Violation:
    invariant: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is promised, and under which assumptions.

    ``deadline`` is the time limit of a request (e) in seconds, by default the one in the settings
    of the world. A second snapshot of a request without a key (b) is excused only if

    - ``excuses_reports``: dcproxy told the client or the log that there may be one, and could not
      find it or delete it: EC2 did not show it everywhere when the last search began, it has no
      tag, or a call has failed;
    - ``excuses_copies``: the network made a copy of a create;
    - ``excuses_crashes``: the replica crashed before the answer.

    A snapshot counts as shown (a, l) if it has its tag, every read replica had learnt of it when
    the first search of a request began, and no client deletes it. The others hold without
    exception.
    """

    deadline: float | None = None
    excuses_copies: bool = True
    excuses_reports: bool = True
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
        *_keyed(outcome),
        *_in_turn(outcome),
        *_creates(outcome),
        *_deletions(outcome),
        *_deletions_of_good_ones(outcome),
        *_false_refusals(outcome, rules),
        *(
            Violation(FOREIGN_SIGNATURE, f"{request.name} signed with {key}")
            for request, key in outcome.signatures
        ),
    ]


def _is_excused(snapshot: Snapshot, outcome: Outcome, rules: Rules) -> bool:
    """Tell whether its request could not delete a duplicate, and said so."""
    sender: ClientRequest = snapshot.sender
    if sender.has_crashed:
        return rules.excuses_crashes
    if rules.excuses_copies and sender.name in outcome.copied:
        return True
    if sender.kind == "unknown":
        return rules.excuses_reports
    is_hidden = (
        not snapshot.tags
        or sender.searched_at is None
        or max(snapshot.visible_at) > sender.searched_at
        or (sender.failed_call_at is not None and sender.failed_call_at >= (sender.sent_at or 0.0))
    )
    return rules.excuses_reports and sender.is_warned and is_hidden


def _duplicates(outcome: Outcome, rules: Rules) -> Iterator[Violation]:
    by_request: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in outcome.snapshots.values():
        sender: ClientRequest = snapshot.sender
        # Once the answered one has failed, a good one stays as well.
        has_failed = snapshot.id == sender.snapshot_id and not snapshot.is_usable
        if sender.key is None and snapshot.deleted_at is None and not has_failed:
            by_request[sender.name].append(snapshot)
    for name, found in by_request.items():
        # When all have failed, none is worth a deletion.
        is_any_good = any(snapshot.is_usable for snapshot in found)
        is_excused = any(_is_excused(snapshot, outcome, rules) for snapshot in found)
        if len(found) > 1 and is_any_good and not is_excused:
            yield Violation(DUPLICATE_OF_REQUEST, f"{name}: {_named(found)}")


def _keyed(outcome: Outcome) -> Iterator[Violation]:
    """Check what the requests with a key did, each against what EC2 showed everywhere."""
    by_scope: dict[tuple[str, ...], list[Snapshot]] = defaultdict(list)
    for snapshot in outcome.snapshots.values():
        if snapshot.sender.scope is not None:
            by_scope[snapshot.sender.scope].append(snapshot)
    for request in outcome.requests:
        if request.scope is None or request.method != "POST":
            continue
        searched_at = request.first_search_at
        shown = [
            snapshot
            for snapshot in by_scope[request.scope]
            if snapshot.is_usable
            and snapshot.tags
            and searched_at is not None
            and max(snapshot.visible_at) <= searched_at
        ]
        if request.sends and shown:
            yield Violation(CREATE_THOUGH_FOUND, f"{request.name}: {_named(shown)}")
        if request.kind != "created":
            continue
        answered = outcome.snapshots.get(request.snapshot_id)
        same = [snapshot for snapshot in shown if snapshot.sender.group == request.group]
        if same and answered is not None and _age(answered) > min(map(_age, same)):
            yield Violation(DIFFERENT_ANSWERS, f"{request.name}: {_named([answered, *same])}")
        if answered is not None and not request.sends and _had_failed(answered, searched_at):
            yield Violation(DIFFERENT_ANSWERS, f"{request.name}: {answered.id} had failed")
        yield from _new_with_key(request, outcome)


def _new_with_key(request: ClientRequest, outcome: Outcome) -> Iterator[Violation]:
    """Check a 201 of a request with a key that has sent a create."""
    if not request.effects or request.effect_at is None or request.answered_at is None:
        return
    if not request.is_shown and request.answered_at < request.effect_at + _SHOW_SECONDS:
        yield Violation(EARLY_ANSWER, request.name)
    usable = [
        snapshot
        for snapshot in outcome.snapshots.values()
        if snapshot.id in request.shown
        and snapshot.sender.group == request.group
        and snapshot.end_state != "error"
    ]
    if (not request.is_shown or len(usable) > 1) and not request.is_warned:
        yield Violation(NOT_REPORTED, f"{request.name}: {_named(usable)}")


def _had_failed(snapshot: Snapshot, at: float | None) -> bool:
    return snapshot.end_state == "error" and at is not None and snapshot.ends_at <= at


def _age(snapshot: Snapshot) -> tuple[str, str]:
    return snapshot.start_time, snapshot.id


def _in_turn(outcome: Outcome) -> Iterator[Violation]:
    """Check that of the requests with one key, a worker calls EC2 for one at a time."""
    ended_at: dict[object, tuple[float, str]] = {}
    keyed = [
        request
        for request in outcome.requests
        if request.scope is not None and request.called_at is not None
    ]
    for request in sorted(keyed, key=lambda request: request.called_at or 0.0):
        of = (request.worker, request.scope)
        end, name = ended_at.get(of, (0.0, ""))
        if (request.called_at or 0.0) < end:
            yield Violation(NOT_IN_TURN, f"{name} and {request.name}")
        # Without an answer it crashed, and nothing follows in this worker.
        ended_at[of] = (request.answered_at or 0.0, request.name)


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
    # A cloud that ignores tags knows no name.
    has_name = not snapshot.tags or snapshot.tags.get("Name", "") == request.snapshot_name
    if wanted != made or not has_name:
        yield Violation(WRONG_SNAPSHOT, f"{request.name}: {snapshot.id}")


def _creates(outcome: Outcome) -> Iterator[Violation]:
    """Check when creates were sent and answered."""
    for request in outcome.requests:
        if request.unsearched_sends:
            yield Violation(UNSEARCHED_CREATE, f"{request.name}: {request.unsearched_sends}")
        is_unsearched = request.search_began_at < (request.effect_at or 0.0)
        if request.effects > 1 and is_unsearched and request.kind == "created":
            yield Violation(UNSEARCHED_CREATE, f"{request.name} answered")
        if request.resends:
            yield Violation(RESENT_WITH_KEY, f"{request.name}: {request.resends}")
        if request.sends_without_client:
            yield Violation(CREATE_WITHOUT_CLIENT, f"{request.name} left at {request.left_at:.3f}")


def _deletions(outcome: Outcome) -> Iterator[Violation]:
    for snapshot in outcome.snapshots.values():
        by: ClientRequest | None = snapshot.deleted_by
        if by is None or _is_deletion_of(by, snapshot):
            continue
        sender: ClientRequest = snapshot.sender
        if by is not sender or by.key is not None or snapshot.id == by.snapshot_id:
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
        is_excused = rules.excuses_copies and sender.name in outcome.copied
        if snapshot.is_usable and not is_excused:
            made[sender.name].append(snapshot)
    for request in outcome.requests:
        if request.kind in ("refused", "throttled", "unavailable") and made[request.name]:
            detail = f"{request.name} {request.status} {request.kind}: {_named(made[request.name])}"
            yield Violation(FALSE_REFUSAL, detail)


def _is_deletion_of(request: ClientRequest | None, snapshot: Snapshot) -> bool:
    return request is not None and request.method == "DELETE" and request.target_id == snapshot.id


def _named(snapshots: Iterable[Snapshot]) -> str:
    return ", ".join(f"{s.id} made by {s.sender.name} at {s.made_at:.3f}" for s in snapshots)
