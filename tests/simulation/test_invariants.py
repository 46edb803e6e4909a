"""The invariants notice what violates them, and nothing else."""

import pytest

from tests.simulation import invariants
from tests.simulation.actors import ClientRequest
from tests.simulation.ec2 import EPOCH, Snapshot
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
            "tags": {"dcproxy:create": "t"},
            "started": EPOCH,
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


def test_two_snapshots_of_a_key_are_allowed():
    """Each of two replicas may make one at the same moment."""
    assert found(*two_of_a_key()) == []


def test_create_of_a_repetition_that_had_to_find_a_snapshot():
    [first, second], made = two_of_a_key(first_search_at=0.5, sends=1)
    second.key = "k"
    second.snapshot_id = "snap-1"
    assert found([first, second], made) == [invariants.CREATE_THOUGH_FOUND]
    second.first_search_at = 0.4  # not every read replica had learnt of it
    assert found([first, second], made) == []
    second.first_search_at, second.volume_id = 0.5, "vol-2"  # a 422 was due
    second.kind = "unknown"
    assert found([first, second], made) == [invariants.CREATE_THOUGH_FOUND]


@pytest.mark.parametrize(
    "fields", [{"end_state": "error"}, {"tags": {}}, {"deleted_at": 1.0, "gone_at": (1.0,)}]
)
def test_what_a_repetition_need_not_find(fields):
    requests, [one, two] = two_of_a_key(first_search_at=5.0, sends=1)
    one = snapshot("snap-1", requests[0], **fields)
    one.deleted_by = request("client0.2", method="DELETE", target_id="snap-1", kind="ok")
    two.visible_at = (9.0,)
    assert found(requests, [one, two]) == []


def test_answer_that_is_younger_than_what_ec2_showed():
    requests, [one, two] = two_of_a_key(first_search_at=5.0)
    assert found(requests, [one, two]) == [invariants.DIFFERENT_ANSWERS]
    requests[1].snapshot_id = "snap-1"
    assert found(requests, [one, two]) == []
    requests[1].key = "other"
    requests[1].snapshot_id = "snap-2"
    assert found(requests, [one, two]) == []


def test_answer_that_names_what_had_failed():
    requests, [one, two] = two_of_a_key(first_search_at=20.0)
    requests[1].snapshot_id = "snap-1"
    one.end_state = "error"
    two.visible_at = (30.0,)
    assert found(requests, [one, two]) == [invariants.DIFFERENT_ANSWERS]
    requests[1].first_search_at = 9.0
    assert found(requests, [one, two]) == []


def new_of_a_key(**fields):
    fields = {"effects": 1, "effect_at": 1.0, "answered_at": 1.5} | fields
    only = request(key="k", snapshot_id="snap-1", **fields)
    return [only], [snapshot("snap-1", only)]


@pytest.mark.parametrize(
    ("fields", "violated"),
    [
        ({"is_shown": True}, []),
        ({"is_warned": True}, [invariants.EARLY_ANSWER]),
        ({"is_warned": True, "answered_at": 6.0}, []),
        ({"answered_at": 6.0}, [invariants.NOT_REPORTED]),
    ],
)
def test_answer_before_ec2_shows_the_snapshot(fields, violated):
    assert found(*new_of_a_key(**fields)) == violated


def test_two_snapshots_that_a_request_has_seen_are_reported():
    fields = {"effects": 1, "effect_at": 0.5, "is_shown": True, "shown": {"snap-1", "snap-2"}}
    requests, made = two_of_a_key(**fields)
    assert found(requests, made) == [invariants.NOT_REPORTED]
    requests[1].is_warned = True
    assert found(requests, made) == []


def test_requests_of_one_key_in_one_worker_at_the_same_time():
    requests, made = two_of_a_key(called_at=0.9)
    requests[0].called_at = 0.1
    assert found(requests, made) == [invariants.NOT_IN_TURN]
    requests[1].worker = ("replica1", 0)
    assert found(requests, made) == []
    requests[1].worker = requests[0].worker
    requests[1].called_at = 1.0
    assert found(requests, made) == []


def test_create_with_a_key_that_was_sent_again():
    requests, made = new_of_a_key(is_shown=True, resends=1)
    assert found(requests, made) == [invariants.RESENT_WITH_KEY]


def test_copy_is_excused():
    requests, [one, two] = two_of_a_request()
    two.is_copy = True
    assert found(requests, [one, two]) == []
    assert found(requests, [one, two], rules=Rules(excuses_copies=False)) == [
        invariants.DUPLICATE_OF_REQUEST
    ]


@pytest.mark.parametrize(
    ("fields", "is_excused"),
    [
        ({"searched_at": 0.4}, True),
        ({"searched_at": 0.5}, False),
        ({"searched_at": None}, True),
        ({"searched_at": 0.5, "sent_at": 0.2, "failed_call_at": 0.1}, False),
        ({"searched_at": 0.5, "sent_at": 0.2, "failed_call_at": 0.3}, True),
    ],
)
def test_report_excuses_what_could_not_be_found_or_deleted(fields, is_excused):
    expected = [] if is_excused else [invariants.DUPLICATE_OF_REQUEST]
    assert found(*two_of_a_request(is_warned=True, **fields)) == expected
    assert found(*two_of_a_request(**fields)) == [invariants.DUPLICATE_OF_REQUEST]


def test_report_excuses_a_snapshot_without_tags():
    requests, [one, two] = two_of_a_request(is_warned=True, searched_at=0.5)
    two.tags = {}
    assert found(requests, [one, two]) == []


def test_answered_snapshot_that_failed_is_no_duplicate():
    requests, [one, two] = two_of_a_request()
    one.end_state = "error"
    assert found(requests, [one, two]) == []
    one.end_state, two.end_state = two.end_state, one.end_state
    assert found(requests, [one, two]) == [invariants.DUPLICATE_OF_REQUEST]


def test_create_without_a_search_and_without_a_client():
    only = request(snapshot_id="snap-1", unsearched_sends=1, sends_without_client=1, left_at=2.0)
    assert found([only], [snapshot("snap-1", only)]) == [
        invariants.UNSEARCHED_CREATE,
        invariants.CREATE_WITHOUT_CLIENT,
    ]


def test_answer_after_two_creates_without_a_search():
    only = request(snapshot_id="snap-1", effects=2, effect_at=5.0, search_began_at=4.0)
    assert found([only], [snapshot("snap-1", only)]) == [invariants.UNSEARCHED_CREATE]
    only.search_began_at = 5.0
    assert found([only], [snapshot("snap-1", only)]) == []


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
    strict = Rules(excuses_reports=False, excuses_crashes=False)
    assert found(*two_of_a_request(**fields)) == []
    assert found(*two_of_a_request(**fields), rules=strict) == [invariants.DUPLICATE_OF_REQUEST]


def test_answer_that_names_a_snapshot_which_never_was():
    assert found([request(snapshot_id="snap-1")], []) == [invariants.LOST_SNAPSHOT]


def test_answer_that_names_a_snapshot_which_was_deleted():
    requests, [one, two] = two_of_a_key()
    two.end_state = "error"
    two.deleted_at, two.deleted_by = 1.0, requests[1]
    assert found(requests, [one, two]) == [invariants.LOST_SNAPSHOT, invariants.FOREIGN_DELETION]


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
    [only], [one, two] = two_of_a_request()
    two.deleted_at, two.deleted_by = 1.0, only
    assert found([only], [one, two]) == []


def test_deletion_of_what_others_may_know():
    requests, [one, two] = two_of_a_key()
    requests[1].snapshot_id = "snap-1"
    two.deleted_at, two.deleted_by = 1.0, requests[1]
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


def test_answer_with_other_parameters():
    only = request(snapshot_id="snap-1", description="nightly")
    assert found([only], [snapshot("snap-1", only)]) == [invariants.WRONG_SNAPSHOT]


@pytest.mark.parametrize("kind", ["exception", "internal_error"])
def test_fault_of_dcproxy(kind):
    assert found([request(kind=kind)], []) == [invariants.INTERNAL_ERROR]
