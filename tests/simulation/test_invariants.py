"""The invariants notice what violates them, and nothing else."""

import pytest

from tests.simulation import invariants
from tests.simulation.actors import ClientRequest
from tests.simulation.ec2 import Snapshot
from tests.simulation.invariants import Outcome, Rules, violations


def request(name="client0.1", *, account="AKIDALICE", kind="created", **fields):
    return ClientRequest(
        name=name,
        client=name.partition(".")[0],
        account=account,
        region="us-east-1",
        kind=kind,
        **{"volume_id": "vol-1", "started_at": 0.0, "answered_at": 1.0} | fields,
    )


def snapshot(id, sender, **fields):
    return Snapshot(
        **{
            "id": id,
            "volume_id": "vol-1",
            "account": sender.account,
            "region": "us-east-1",
            "description": "",
            "tags": {},
            "start_time": "2026-01-01T00:00:00.000Z",
            "made_at": 0.0,
            "visible_at": (0.5,),
            "ends_at": 10.0,
            "end_state": "completed",
            "sender": sender,
            "is_copy": False,
            "effect_delay": 0.1,
        }
        | fields
    )


def found(requests, snapshots, signatures=(), rules=None):
    outcome = Outcome(requests, {s.id: s for s in snapshots}, signatures)
    return [violation.invariant for violation in violations(outcome, rules or Rules())]


def two_of_a_key(**fields):
    first = request("client0.1", key="k", snapshot_id="snap-1")
    second = request("client1.1", key="k", snapshot_id="snap-2", **fields)
    return [first, second], [snapshot("snap-1", first), snapshot("snap-2", second)]


def two_of_a_request(**fields):
    only = request(**{"snapshot_id": "snap-1"} | fields)
    return [only], [snapshot("snap-1", only), snapshot("snap-2", only)]


def test_one_snapshot_for_one_request_is_clean():
    only = request(snapshot_id="snap-1")
    assert found([only], [snapshot("snap-1", only)]) == []


def test_two_snapshots_of_a_key():
    assert found(*two_of_a_key()) == [invariants.DUPLICATE_OF_KEY]


@pytest.mark.parametrize(
    "fields",
    [
        {"end_state": "error"},
        {"is_copy": True},
        {"effect_delay": 31.0},
        {"deleted_at": 1.0, "gone_at": (1.0,)},
    ],
)
def test_what_does_not_count_as_a_duplicate_of_a_key(fields):
    [first, second], [one, two] = two_of_a_key()
    second.snapshot_id = "snap-1"
    two = snapshot("snap-2", second, **fields)
    two.deleted_by = second if two.deleted_at else None
    assert found([first, second], [one, two]) == []


def test_another_key_parameter_or_account_is_no_duplicate():
    [first, second], [one, two] = two_of_a_key()
    second.key = "other"
    assert found([first, second], [one, two]) == []
    second.key, second.volume_id, two.volume_id = "k", "vol-2", "vol-2"
    assert found([first, second], [one, two]) == []


def test_lag_beyond_the_assumption_is_excused():
    requests, [one, two] = two_of_a_key()
    two.visible_at = (7.0,)
    assert found(requests, [one, two]) == [invariants.DUPLICATE_OF_KEY]
    assert found(requests, [one, two], rules=Rules(lag=5.0)) == []


def test_two_snapshots_of_a_request_without_key():
    assert found(*two_of_a_request()) == [invariants.DUPLICATE_OF_REQUEST]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "unknown", "snapshot_id": ""},
        {"is_warned": True},
        {"kind": "no_answer", "snapshot_id": "", "has_crashed": True},
    ],
)
def test_excuses_for_two_snapshots(fields):
    strict = Rules(excuses_warnings=False, excuses_crashes=False)
    assert found(*two_of_a_request(**fields)) == []
    assert found(*two_of_a_request(**fields), rules=strict) == [invariants.DUPLICATE_OF_REQUEST]


def test_answer_that_names_a_snapshot_which_never_was():
    assert found([request(snapshot_id="snap-1")], []) == [invariants.LOST_SNAPSHOT]


def test_answer_that_names_a_snapshot_which_was_deleted():
    requests, [one, two] = two_of_a_key()
    two.deleted_at, two.deleted_by = 1.0, requests[1]
    assert found(requests, [one, two]) == [invariants.LOST_SNAPSHOT]


def test_client_may_delete_what_it_made():
    made = request(snapshot_id="snap-1")
    deletion = request("client0.2", method="DELETE", target_id="snap-1", kind="ok")
    gone = snapshot("snap-1", made, deleted_at=2.0, deleted_by=deletion)
    assert found([made, deletion], [gone]) == []


def test_answer_that_names_a_snapshot_in_error_is_clean():
    only = request(snapshot_id="snap-1")
    assert found([only], [snapshot("snap-1", only, end_state="error")]) == []


def test_deletion_of_what_another_request_made():
    first = request("client0.1", kind="no_answer")
    second = request("client1.1", snapshot_id="snap-2")
    gone = snapshot("snap-1", first, deleted_at=1.0, deleted_by=second, end_state="error")
    assert found([first, second], [gone, snapshot("snap-2", second)]) == [
        invariants.FOREIGN_DELETION
    ]


def test_deletion_of_a_duplicate_of_the_same_key_is_clean():
    requests, [one, two] = two_of_a_key()
    requests[1].snapshot_id = "snap-1"
    two.deleted_at, two.deleted_by = 1.0, requests[0]
    assert found(requests, [one, two]) == []


def test_good_snapshot_deleted_for_one_that_had_failed():
    [only], [one, two] = two_of_a_request()
    two.deleted_at, two.deleted_by = 30.0, only
    assert found([only], [one, two]) == []
    one.end_state = "error"
    assert found([only], [one, two]) == [invariants.GOOD_ONE_DELETED]
    one.ends_at = 29.0  # too recent to be seen
    assert found([only], [one, two]) == []


def test_good_snapshot_deleted_after_a_client_deleted_the_one_that_stays():
    [only], [one, two] = two_of_a_request()
    two.deleted_at, two.deleted_by = 30.0, only
    one.deleted_at, one.deleted_by = 10.0, only
    assert invariants.GOOD_ONE_DELETED in found([only], [one, two])
    one.deleted_by = request("client0.2", method="DELETE", target_id="snap-1", kind="ok")
    assert found([only, one.deleted_by], [one, two]) == []


def test_late_answer():
    late = request(snapshot_id="snap-1", answered_at=31.0)
    made = [snapshot("snap-1", late)]
    assert found([late], made, rules=Rules(deadline=30.0)) == [invariants.LATE_ANSWER]
    assert found([late], made) == []


def test_signature_of_another_caller():
    only = request(snapshot_id="snap-1")
    made = [snapshot("snap-1", only)]
    assert found([only], made, [(only, "AKIDBOB")]) == [invariants.FOREIGN_SIGNATURE]


@pytest.mark.parametrize("kind", ["refused", "throttled", "unavailable"])
def test_error_that_denies_a_snapshot(kind):
    denied = request(kind=kind)
    assert found([denied], [snapshot("snap-1", denied)]) == [invariants.FALSE_REFUSAL]
    assert found([request(kind="unknown")], [snapshot("snap-1", denied)]) == []


def test_answer_with_other_parameters():
    only = request(snapshot_id="snap-1", description="nightly")
    assert found([only], [snapshot("snap-1", only)]) == [invariants.WRONG_SNAPSHOT]


@pytest.mark.parametrize("kind", ["exception", "internal_error"])
def test_fault_of_dcproxy(kind):
    assert found([request(kind=kind)], []) == [invariants.INTERNAL_ERROR]
