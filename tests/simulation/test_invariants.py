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


def found(requests, snapshots, signatures=(), rules=None, **fields):
    outcome = Outcome(requests, {s.id: s for s in snapshots}, signatures, **fields)
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
    assert found(*two_of_a_key()) == [invariants.DUPLICATE_OF_KEY, invariants.DIFFERENT_ANSWERS]
    assert found(*two_of_a_key(kind="no_answer")) == [invariants.DUPLICATE_OF_KEY]


@pytest.mark.parametrize(
    "fields", [{"end_state": "error"}, {"is_copy": True}, {"deleted_at": 1.0, "gone_at": (1.0,)}]
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


@pytest.mark.parametrize(
    ("fields", "rules"),
    [({"visible_at": (7.0,)}, Rules(lag=5.0)), ({"effect_delay": 31.0}, Rules(effect_delay=30.0))],
)
def test_what_is_beyond_the_assumptions_is_excused(fields, rules):
    requests, [one, two] = two_of_a_request()
    two = snapshot("snap-2", requests[0], **fields)
    assert found(requests, [one, two]) == [invariants.DUPLICATE_OF_REQUEST]
    assert found(requests, [one, two], rules=rules) == []


def test_copy_is_excused_unless_a_search_showed_it():
    requests, [one, two] = two_of_a_request()
    two.is_copy = True
    assert found(requests, [one, two]) == []
    assert found(requests, [one, two], rules=Rules(excuses_copies=False)) == [
        invariants.DUPLICATE_OF_REQUEST
    ]
    requests[0].searched_at = 0.4
    assert found(requests, [one, two]) == []
    requests[0].searched_at = 0.5
    assert found(requests, [one, two]) == [invariants.DUPLICATE_OF_REQUEST]


def test_duplicate_is_held_against_the_request_that_made_it():
    [first, second], [one, two] = two_of_a_key(kind="no_answer", has_crashed=True)
    one.start_time = "2025-12-31T00:00:00.000Z"
    assert found([first, second], [one, two]) == []
    one.start_time = "2026-01-02T00:00:00.000Z"
    assert found([first, second], [one, two]) == [invariants.DUPLICATE_OF_KEY]


@pytest.mark.parametrize(
    ("fields", "is_excused"),
    [
        ({"visible_at": (300.0,)}, True),
        ({"visible_at": (100.0,)}, False),
        ({"visible_at": (100.0,), "failed_call_at": 100.0}, False),
        ({"visible_at": (100.0,), "failed_call_at": 250.0}, True),
    ],
)
def test_warning_excuses_what_no_later_look_could_delete(fields, is_excused):
    failed_call_at = fields.pop("failed_call_at", None)
    requests, [one, _] = two_of_a_request(is_warned=True, failed_call_at=failed_call_at)
    two = snapshot("snap-2", requests[0], **fields)
    assert found(requests, [one, two]) == ([] if is_excused else [invariants.DUPLICATE_OF_REQUEST])


def test_answered_snapshot_that_failed_is_no_duplicate():
    requests, [one, two] = two_of_a_request()
    one.end_state = "error"
    assert found(requests, [one, two]) == []
    one.end_state, two.end_state = two.end_state, one.end_state
    assert found(requests, [one, two]) == [invariants.DUPLICATE_OF_REQUEST]


def test_answers_for_a_key_may_differ_after_a_failure_or_a_deletion():
    requests, [one, two] = two_of_a_key()
    one.end_state = "error"
    assert found(requests, [one, two]) == []
    one.end_state = "completed"
    one.deleted_at = 2.0
    one.deleted_by = request("client0.2", method="DELETE", target_id="snap-1", kind="ok")
    assert found([*requests, one.deleted_by], [one, two]) == []


def test_create_without_a_search_and_without_a_client():
    only = request(snapshot_id="snap-1", unsearched_sends=1, sends_without_client=1, left_at=2.0)
    assert found([only], [snapshot("snap-1", only)]) == [
        invariants.UNSEARCHED_CREATE,
        invariants.CREATE_WITHOUT_CLIENT,
    ]


def test_two_snapshots_of_a_request_without_key():
    assert found(*two_of_a_request()) == [invariants.DUPLICATE_OF_REQUEST]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "unknown", "snapshot_id": "", "failed_call_at": 300.0},
        {"is_warned": True, "failed_call_at": 300.0},
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
    two.end_state = "error"
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


def test_deletion_of_a_duplicate_by_its_own_request_is_clean():
    requests, [one, two] = two_of_a_key()
    requests[1].snapshot_id = "snap-1"
    two.deleted_at, two.deleted_by = 1.0, requests[1]
    assert found(requests, [one, two]) == []
    two.deleted_by = requests[0]
    assert found(requests, [one, two]) == [invariants.FOREIGN_DELETION]


def test_good_snapshot_deleted_for_one_that_had_failed():
    [only], [one, two] = two_of_a_request()
    two.deleted_at, two.deleted_by = 30.0, only
    assert found([only], [one, two]) == []
    one.end_state = "error"
    assert found([only], [one, two]) == [invariants.GOOD_ONE_DELETED]
    one.ends_at = 29.0  # too recent to be seen
    assert found([only], [one, two]) == []
    one.ends_at = 12.0
    assert found([only], [one, two]) == [invariants.GOOD_ONE_DELETED]
    two.deleter_searched_at = 10.0  # the search had begun earlier
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
    assert found([late], made, deadline=30.0) == [invariants.LATE_ANSWER]
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


def test_denied_snapshot_stays_when_a_client_deleted_the_older_one():
    first = request("client0.1", key="k", snapshot_id="snap-1")
    second = request("client1.1", key="k", kind="refused", volume_id="vol-2", is_warned=True)
    deletion = request("client0.2", method="DELETE", target_id="snap-1", kind="ok")
    one, two = snapshot("snap-1", first), snapshot("snap-2", second, volume_id="vol-2")
    assert found([first, second], [one, two]) == [invariants.FALSE_REFUSAL]
    one.deleted_at, one.deleted_by = 2.0, deletion
    assert found([first, second, deletion], [one, two]) == []


def test_answer_with_other_parameters():
    only = request(snapshot_id="snap-1", description="nightly")
    assert found([only], [snapshot("snap-1", only)]) == [invariants.WRONG_SNAPSHOT]


@pytest.mark.parametrize("kind", ["exception", "internal_error"])
def test_fault_of_dcproxy(kind):
    assert found([request(kind=kind)], []) == [invariants.INTERNAL_ERROR]
