"""dcproxy in simulated worlds: no schedule of faults breaks a create."""

import itertools
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.httpsession import URLLib3Session

import dcproxy
from dcproxy.request_log import RequestLog
from tests.simulation import campaign, invariants, mutations, replica, world
from tests.simulation.actors import ClientPlan, ClientRequest
from tests.simulation.ec2 import Behaviour
from tests.simulation.network import Faults
from tests.simulation.world import Scenario
from tests.support.markdown import read_page, table

WORLDS = 5


def plan(name="client0", **fields):
    fixed = {"account": "AKIDALICE", "region": "us-east-1", "volume_id": "vol-11111111"}
    return ClientPlan(name=name, **fixed | fields)


def run(scenario, seed=1):
    with replica.installed():
        return world.run(seed, scenario, is_traced=True)


def kinds(result):
    return [request.kind for request in result.requests]


def test_no_fresh_world_breaks_a_create():
    start = secrets.randbits(40)
    summary = campaign.run(start, WORLDS, campaign.Options())
    assert summary.worlds == WORLDS
    assert not summary.failures, (
        f"replay with: python -m tests.simulation --trace --seed {summary.failures[0][0]}"
    )


@pytest.mark.parametrize("name", world.SCENARIOS)
def test_hard_situation_is_clean(name):
    start = secrets.randbits(40)
    worlds = 1 if name in world.LARGE_SCENARIOS else 3
    summary = campaign.run(start, worlds, campaign.Options(scenario=name))
    assert not summary.failures, (
        f"replay with: python -m tests.simulation --scenario {name} --trace "
        f"--seed {summary.failures[0][0]}"
    )


def test_same_seed_gives_the_same_trace():
    start = secrets.randbits(40)
    with replica.installed():
        for seed in range(start, start + 3):
            first = world.run(seed, is_traced=True)
            world.run(seed + 1)
            second = world.run(seed, is_traced=True)
            assert first.trace
            assert first.trace == second.trace, seed
            assert first.answers == second.answers
            assert world.run(seed).answers == first.answers, "tracing changes nothing"


@pytest.mark.live
def test_other_process_gives_the_same_trace():
    seed = secrets.randbits(40)
    with replica.installed():
        trace = "\n".join(world.run(seed, is_traced=True).trace)
    assert "POST" in trace
    root = Path(dcproxy.__file__).parents[1]
    output = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--trace", "--seed", str(seed)],
        cwd=root,
        # Other hashes give other orders of sets.
        env=os.environ | {"PYTHONHASHSEED": str(seed % 2**32), "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    ).stdout
    assert trace in output, seed


def test_one_create_without_faults():
    result = run(Scenario(clients=[plan()]))
    assert kinds(result) == ["created"]
    assert not result.violations
    [snapshot] = result.ec2.snapshots.values()
    assert snapshot.sender is result.requests[0]
    assert result.requests[0].snapshot_id == snapshot.id


def test_unknown_outcome_is_told_apart():
    faults = Faults(script={"CreateSnapshot": ["lost_request"] * 9})
    result = run(Scenario(clients=[plan(tries=1, patience=600)], faults=faults))
    assert kinds(result) == ["unknown"]


def test_impatient_client_leaves_and_repeats():
    faults = Faults(script={"CreateSnapshot": ["late_response"]})
    result = run(Scenario(clients=[plan(key="k", patience=5, tries=2)], faults=faults))
    first, second = result.requests
    assert first.left_at is not None
    assert first.answered_at is not None
    assert first.answered_at > first.left_at
    assert second.started_at > first.left_at


def test_dcproxy_learns_that_the_client_has_left():
    request = ClientRequest(name="r", client="c", account="A", region="us-east-1")
    connection = replica.environ_of(request)["gunicorn.socket"]
    context = RequestLog("r", "POST", "/api", connection=connection)
    with replica.installed():
        assert not context.client_has_left
        request.left_at = 5.0
        assert context.client_has_left


def test_client_deletes_its_snapshot():
    result = run(Scenario(clients=[plan(deletes_after=1.0)]))
    assert kinds(result) == ["created", "ok"]
    assert not result.violations
    [snapshot] = result.ec2.snapshots.values()
    assert snapshot.deleted_by is result.requests[1]


def test_crash_ends_requests_and_the_replica_comes_back():
    clients = [plan(key="k", pauses=(20.0, 20.0))]
    result = run(Scenario(clients=clients, behaviour=Behaviour(lag=(0, 0.1)), crashes=[(0.3, 0)]))
    first, second = result.requests
    assert first.has_crashed
    assert first.kind == "no_answer"
    assert second.kind == "created"


def test_crash_at_a_step_of_the_network():
    result = run(Scenario(clients=[plan(tries=1)], faults=Faults(crash_rate=1.0)))
    assert kinds(result) == ["no_answer"]
    assert not result.ec2.snapshots


def test_requests_of_two_accounts_and_regions_are_signed_with_their_keys():
    clients = [
        plan(f"client{number}", account=account, region=region)
        for number, (account, region) in enumerate(
            (account, region) for account in ("AKIDALICE", "AKIDBOB") for region in replica.REGIONS
        )
    ]
    result = run(Scenario(clients=clients))
    assert kinds(result) == ["created"] * 4
    assert not result.violations
    assert len({(s.account, s.region) for s in result.ec2.snapshots.values()}) == 4


def test_requests_with_one_key_wait_for_each_other_in_one_worker():
    clients = [plan(f"client{number}", key="k") for number in range(3)]
    result = run(Scenario(clients=clients, faults=Faults(latency=(0.5, 0.5))))
    assert kinds(result) == ["created"] * 3
    assert len(result.ec2.snapshots) == 1
    calls = sorted((request.called_at, request.answered_at) for request in result.requests)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(calls))


def test_two_replicas_may_make_a_snapshot_each_and_name_both():
    clients = [
        plan(f"client{number}", key="k", choose_replica=lambda _, number=number: number)
        for number in range(2)
    ]
    result = run(Scenario(clients=clients, replicas=2, faults=Faults(latency=(0.1, 0.1))))
    assert kinds(result) == ["created"] * 2
    assert len(result.ec2.snapshots) == 2
    assert any(request.is_warned for request in result.requests)
    assert not result.violations


def test_duplicate_of_a_cloud_that_ignores_tags_is_reported():
    faults = Faults(script={"CreateSnapshot": ["lost_response"]})
    result = run(
        Scenario(clients=[plan()], behaviour=Behaviour(ignored_tags_rate=1), faults=faults)
    )
    assert len(result.ec2.snapshots) == 2
    assert result.requests[0].is_warned
    assert not result.violations


@pytest.mark.parametrize("fate", ["lost_response", "lost_request"])
def test_lost_response_behind_a_proxy_is_looked_for(fate):
    faults = Faults(script={"CreateSnapshot": [fate]}, has_proxy=True)
    result = run(Scenario(clients=[plan()], faults=faults))
    assert kinds(result) == ["created"]
    assert len(result.ec2.snapshots) == 1
    assert not result.violations


def test_requests_wait_for_a_thread():
    clients = [plan(f"client{number}") for number in range(3)]
    faults = Faults(latency=(1.0, 1.0))
    result = run(Scenario(clients=clients, threads=1, faults=faults))
    assert kinds(result) == ["created"] * 3
    answered = sorted(request.answered_at for request in result.requests)
    assert all(later - earlier >= 2.0 for earlier, later in itertools.pairwise(answered))


def test_crash_ends_waiting_requests():
    clients = [plan(f"client{number}", tries=1) for number in range(3)]
    faults = Faults(latency=(1.0, 1.0))
    result = run(Scenario(clients=clients, threads=1, faults=faults, crashes=[(0.5, 0)]))
    assert kinds(result) == ["no_answer"] * 3
    assert all(request.has_crashed for request in result.requests)


def test_client_that_left_while_waiting_gets_no_snapshot():
    clients = [
        plan("reader0", is_reader=True, tries=1),
        plan("client0", start_at=0.1, patience=5.0, tries=1),
    ]
    result = run(Scenario(clients=clients, threads=1, faults=Faults(latency=(4.0, 4.0))))
    assert kinds(result) == ["ok", "refused"]
    assert not result.ec2.snapshots
    assert not result.violations


def test_create_without_the_permission_to_tag_is_sent_once():
    behaviour = Behaviour(refuses_tags=True)
    faults = Faults(script={"CreateSnapshot": ["delivered", "lost_response"]})
    result = run(Scenario(clients=[plan(tries=1)], behaviour=behaviour, faults=faults))
    assert kinds(result) == ["unknown"]
    assert result.requests[0].sends == 2
    [snapshot] = result.ec2.snapshots.values()
    assert not snapshot.tags


@pytest.mark.parametrize("number", range(len(replica.SETTINGS)))
def test_deadline_is_that_of_the_settings(number):
    faults = Faults(rates={"late_response": 1.0})
    scenario = Scenario(clients=[plan(tries=1, key="k")], settings=number, faults=faults)
    result = run(scenario)
    assert not result.violations
    with replica.installed(), mutations.MUTATIONS["no-deadline"].apply():
        mutated = world.run(1, scenario)
    assert [violation.invariant for violation in mutated.violations] == [invariants.LATE_ANSWER]


def test_nothing_stays_patched():
    before = URLLib3Session.send
    with replica.installed():
        assert URLLib3Session.send is not before
    assert URLLib3Session.send is before


@pytest.mark.parametrize(
    "name", ["early-answer", "no-parameter-check", "no-client-check", "shared-credentials"]
)
def test_mutation_is_noticed(name):
    options = campaign.Options(mutation=name)
    assert any(campaign.run_chunk((seed, 5), options).failures for seed in range(1, 400, 5))


@pytest.mark.parametrize("name", mutations.MUTATIONS)
def test_mutation_patches_what_dcproxy_has(name):
    with replica.installed(), mutations.MUTATIONS[name].apply():
        world.run(1, Scenario(clients=[plan(key="k")]))


def test_table_of_mutations_is_complete():
    rows = table(
        read_page("docs/guarantees.md"),
        *("rule removed", "mutation", "first violating seed", "violated invariants"),
    )
    assert [(row["rule removed"], row["mutation"].strip("`")) for row in rows] == [
        (mutation.rule, name) for name, mutation in mutations.MUTATIONS.items()
    ]
    assert all(row["first violating seed"].isdigit() for row in rows)
