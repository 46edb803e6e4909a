"""The model of EC2 and of the network: each fault that it names really happens."""

import re

import pytest

from tests.simulation.ec2 import EC2, Behaviour, Request
from tests.simulation.network import FATES, Faults, Network, NetworkError
from tests.simulation.scheduler import NotQuietError, Scheduler

VOLUME = "vol-11111111"
ALICE, BOB = "AKIDALICE", "AKIDBOB"
CONNECT_TIMEOUT, READ_TIMEOUT = 2.0, 10.0


class Lab:
    """An EC2 and its network, called from one task."""

    def __init__(self, seed=1, *, faults=None, **behaviour):
        self.scheduler = Scheduler(seed)
        self.ec2 = EC2(Behaviour(**behaviour), self.scheduler.random, lambda: self.scheduler.now)
        self.network = Network(self.scheduler, self.ec2, faults or Faults(), lambda: None)
        self.ec2.owned_volumes.add((ALICE, "us-east-1", VOLUME))

    def run(self, experiment):
        results = []
        self.scheduler.spawn(lambda: results.append(experiment()), "experiment")
        self.scheduler.run()
        self.scheduler.close()
        return results[0]

    def call(self, action, key=ALICE, **parameters):
        request = Request(
            action, {k.replace("_", "."): v for k, v in parameters.items()}, key, "us-east-1"
        )
        return self.ec2.execute(request)

    def send(self, action, **parameters):
        request = Request(
            action, {k.replace("_", "."): v for k, v in parameters.items()}, ALICE, "us-east-1"
        )
        return self.network.send(request, CONNECT_TIMEOUT, READ_TIMEOUT)

    def create(self, tag="create-1", **parameters):
        return self.call(
            "CreateSnapshot",
            VolumeId=VOLUME,
            TagSpecification_1_Tag_1_Key="dcproxy:create",
            TagSpecification_1_Tag_1_Value=tag,
            **parameters,
        )

    def list(self, tag="*", **parameters):
        response = self.call(
            "DescribeSnapshots",
            OwnerId_1="self",
            Filter_1_Name="tag:dcproxy:create",
            Filter_1_Value_1=tag,
            **parameters,
        )
        return ids(response)


def ids(response):
    return re.findall(r"<snapshotId>([^<]+)</snapshotId>", response.body.decode())


def next_token(response):
    match = re.search(r"<nextToken>([^<]+)</nextToken>", response.body.decode())
    return match[1] if match else None


def test_snapshot_is_listed_by_its_tag_to_its_account_only():
    lab = Lab()
    [id] = ids(lab.create("a-1"))
    lab.create("b-1")
    assert lab.list("a-1") == lab.list("a-*") == [id]
    assert len(lab.list("*")) == 2
    assert lab.list("a") == []
    assert not ids(lab.call("DescribeSnapshots", key=BOB))


def test_unknown_volume_snapshot_and_action_are_refused():
    lab = Lab()
    assert lab.call("CreateSnapshot", VolumeId="vol-0").error_code == "InvalidVolume.NotFound"
    for action, name in (("DescribeSnapshots", "SnapshotId_1"), ("DeleteSnapshot", "SnapshotId")):
        response = lab.call(action, **{name: "snap-0"})
        assert response.error_code == "InvalidSnapshot.NotFound"
    assert lab.call("RunInstances").status == 400


def test_reads_lag_and_are_not_monotonic():
    def experiment():
        lab.create()
        shown = []
        for _ in range(200):
            shown.append(bool(lab.list()))
            lab.scheduler.sleep(0.01)
        return shown

    lab = Lab(read_replicas=3, lag=(0.1, 1.0))
    shown = lab.run(experiment)
    assert not any(shown[:10])
    assert all(shown[100:])
    first = shown.index(True)
    assert not all(shown[first:])


def test_deletion_is_seen_late_too():
    def experiment():
        [id] = ids(lab.create())
        lab.scheduler.sleep(5)
        lab.call("DeleteSnapshot", SnapshotId=id)
        at_once = lab.list()
        lab.scheduler.sleep(5)
        return id, at_once, lab.list()

    lab = Lab(lag=(1.0, 2.0))
    id, at_once, later = lab.run(experiment)
    assert at_once == [id]
    assert later == []
    assert lab.call("DeleteSnapshot", SnapshotId=id).error_code == "InvalidSnapshot.NotFound"


def test_delete_by_a_lagging_read_does_not_find_the_snapshot():
    lab = Lab(lag=(1.0, 2.0), delete_by_lagging_read=True)
    [id] = ids(lab.create())
    assert lab.call("DeleteSnapshot", SnapshotId=id).error_code == "InvalidSnapshot.NotFound"
    assert lab.ec2.snapshots[id].is_usable


def test_deletes_can_be_refused():
    lab = Lab(delete_refusal_rate=1.0)
    [id] = ids(lab.create())
    assert lab.call("DeleteSnapshot", SnapshotId=id).error_code == "UnauthorizedOperation"
    assert lab.list() == [id]


def test_pages_are_short_or_empty_and_complete():
    lab = Lab(has_short_pages=True, pending=(0.0, 0.0))
    made = sorted(ids(lab.create())[0] for _ in range(8))
    sizes = set()
    for _ in range(20):
        found, token = [], None
        while True:
            response = lab.call("DescribeSnapshots", **({"NextToken": token} if token else {}))
            sizes.add(len(ids(response)))
            found += ids(response)
            token = next_token(response)
            if not token:
                break
        assert sorted(found) == made
    assert sizes >= {0, 1, 2}


def test_max_results_limits_a_page():
    lab = Lab(pending=(0.0, 0.0))
    for _ in range(7):
        lab.create()
    response = lab.call("DescribeSnapshots", MaxResults="5")
    assert len(ids(response)) == 5
    assert len(ids(lab.call("DescribeSnapshots", NextToken=next_token(response)))) == 2


def test_token_bucket_throttles():
    def experiment():
        codes = [lab.create().error_code for _ in range(3)]
        lab.scheduler.sleep(1)
        return [*codes, lab.create().error_code, lab.create().error_code]

    lab = Lab(bucket=(2, 1))
    refused = "RequestLimitExceeded"
    assert lab.run(experiment) == ["", "", refused, "", refused]


def test_one_create_per_volume_in_15_seconds():
    def experiment():
        codes = [lab.create().error_code, lab.create().error_code]
        lab.scheduler.sleep(15)
        return [*codes, lab.create().error_code]

    lab = Lab(limits_creates_per_volume=True)
    assert lab.run(experiment) == ["", "SnapshotCreationPerVolumeRateExceeded", ""]


def test_five_pending_snapshots_per_volume():
    lab = Lab(pending=(10, 10))
    codes = [lab.create().error_code for _ in range(6)]
    assert codes == [""] * 5 + ["ConcurrentSnapshotLimitExceeded"]


def test_snapshot_ends_in_error_after_it_was_pending():
    def experiment():
        lab.create()
        states = []
        for _ in range(3):
            response = lab.call("DescribeSnapshots")
            states += re.findall(r"<status>([^<]+)", response.body.decode())
            lab.scheduler.sleep(1)
        return states

    lab = Lab(error_rate=1.0, pending=(1.5, 1.5))
    assert lab.run(experiment) == ["pending", "pending", "error"]


@pytest.mark.parametrize(
    ("fate", "expected", "made"),
    [
        ("delivered", {200}, 1),
        ("refused_connection", {"refused"}, 0),
        ("connect_timeout", {"connect_timeout"}, 0),
        ("lost_request", {"closed", "read_timeout"}, 0),
        ("lost_response", {"closed"}, 1),
        ("late_response", {"read_timeout"}, 1),
        ("late_effect", {"closed", "read_timeout"}, 1),
        ("duplicated", {200}, 2),
        ("error_without_effect", {500, 503}, 0),
        ("error_with_effect", {500}, 1),
        ("unreadable_response", {200}, 1),
    ],
)
def test_fate_of_a_call(fate, expected, made):
    def experiment():
        try:
            outcomes.append(lab.send("CreateSnapshot", VolumeId=VOLUME).status)
        except NetworkError as error:
            outcomes.append(error.kind)
        took.append(lab.scheduler.now)
        return len(lab.ec2.snapshots)

    before_the_end, outcomes, took = set(), [], []
    for seed in range(20):
        lab = Lab(seed, faults=Faults(script={"CreateSnapshot": [fate]}))
        before_the_end.add(lab.run(experiment))
        snapshots = list(lab.ec2.snapshots.values())
        assert len(snapshots) == made
        assert sum(snapshot.is_copy for snapshot in snapshots) == (fate == "duplicated")
    assert set(outcomes) == expected
    timeouts = {"read_timeout": READ_TIMEOUT, "connect_timeout": CONNECT_TIMEOUT}
    assert all(timeouts.get(o, t) == t for o, t in zip(outcomes, took, strict=True))
    if fate == "late_effect":
        # Nothing was made when the caller gave up: it takes effect afterwards.
        assert before_the_end == {0}


def test_all_fates_are_drawn_at_their_rates():
    def experiment():
        for _ in range(1000):
            try:
                lab.send("DescribeSnapshots")
            except NetworkError:
                continue

    lab = Lab(faults=Faults(rates=dict.fromkeys(FATES, 0.05)))
    lab.run(experiment)
    assert set(lab.network.fates) == {"delivered", *FATES}
    assert all(20 < lab.network.fates[fate] < 90 for fate in FATES)


def test_outage_hits_nearly_all_calls_of_its_time():
    def experiment():
        refused = 0
        for _ in range(50):
            try:
                lab.send("DescribeSnapshots")
            except NetworkError:
                refused += 1
        return refused

    lab = Lab(faults=Faults(outage=(0.0, 100.0, "refused_connection")))
    assert lab.run(experiment) > 35


def test_request_arrives_although_its_sender_was_killed():
    lab = Lab()
    task = lab.scheduler.spawn(lambda: lab.send("CreateSnapshot", VolumeId=VOLUME), "sender")

    def kill():
        task.is_killed = True

    lab.scheduler.call_later(0.001, kill)
    lab.scheduler.run()
    assert len(lab.ec2.snapshots) == 1
    lab.scheduler.close()


def test_killed_task_does_nothing_more_not_even_in_finally():
    def run():
        try:
            scheduler.kill_current()
        finally:
            ended.append(scheduler.is_closed)
            scheduler.sleep(1)
            ended.append("slept")

    ended = []
    scheduler = Scheduler(1)
    scheduler.spawn(run, "killed")
    scheduler.run()
    assert not ended
    scheduler.close()
    assert ended == [True]


def test_world_that_goes_on_for_ever_is_stopped():
    def run():
        while True:
            scheduler.sleep(1)

    scheduler = Scheduler(1)
    scheduler.spawn(run, "endless")
    with pytest.raises(NotQuietError):
        scheduler.run()
    scheduler.close()
