"""Run, replay and mutate worlds: ``python -m tests.simulation --help``."""

import argparse
import os
import secrets
import sys
import time
from dataclasses import replace

import dcproxy
from tests.simulation import campaign, mutations, replica, world
from tests.simulation.invariants import Rules


def main() -> int:
    options = _parser().parse_args()
    if options.worlds is None:
        options.worlds = 10_000 if options.seconds is None else 10**9
    rules = Rules(deadline=options.deadline)
    if options.strict:
        rules = replace(rules, excuses_reports=False, excuses_crashes=False)
    of_worlds = campaign.Options(rules=rules, scenario=options.scenario, mutation=options.mutation)
    if options.seed is not None:
        return _replay(options.seed, of_worlds, is_traced=options.trace)
    start = options.start if options.start is not None else secrets.randbits(40)
    if options.mutations:
        return _table(options.start or 1, rules, options)
    print(f"base seed {start}, dcproxy from {os.path.dirname(dcproxy.__file__)}", flush=True)
    if options.mutation:
        return _mutation(start, of_worlds, options)
    return _worlds(start, of_worlds, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay the world of this seed")
    parser.add_argument("--trace", action="store_true", help="with --seed: print each step")
    parser.add_argument(
        "--worlds",
        type=int,
        help="number of worlds, or of tries to notice a mutation (default: 10000; with --seconds: "
        "as many as there is time for)",
    )
    parser.add_argument(
        "--start", type=int, help="first seed (default: a fresh one; --mutations: 1)"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, help="stop after this time")
    parser.add_argument("--scenario", choices=sorted(world.SCENARIOS), help="only this scenario")
    parser.add_argument("--mutation", choices=sorted(mutations.MUTATIONS), help="remove one rule")
    parser.add_argument("--mutations", action="store_true", help="remove each rule in turn")
    parser.add_argument("--deadline", type=float, help="seconds within which dcproxy must answer")
    parser.add_argument("--strict", action="store_true", help="no excuse by reports and crashes")
    return parser


def _replay(seed: int, options: campaign.Options, *, is_traced: bool) -> int:
    with replica.installed(), campaign.mutated(options.mutation):
        scenario = world.scenario_of(seed, options.scenario)
        result = world.run(seed, scenario, rules=options.rules, is_traced=is_traced)
    if is_traced:
        print(scenario)
        print("\n".join(result.trace))
    for request in result.requests:
        print(
            f"{request.name:12} {request.method} key={request.key} {request.status} {request.kind}"
            f" {request.snapshot_id}"
        )
    for snapshot in result.ec2.snapshots.values():
        deleted_by = snapshot.deleted_by
        end = f"deleted by {deleted_by.name}" if deleted_by else snapshot.end_state
        print(f"{snapshot.id} made by {snapshot.sender.name} at {snapshot.made_at:.3f}: {end}")
    for violation in result.violations:
        print(f"violated: {violation.invariant}: {violation.detail}")
    print(f"seed {seed}: {'violated' if result.violations else 'clean'}")
    return 1 if result.violations else 0


def _worlds(start: int, of_worlds: campaign.Options, options: argparse.Namespace) -> int:
    begun = time.monotonic()
    summary = campaign.run(
        start, options.worlds, of_worlds, processes=options.processes, seconds=options.seconds
    )
    took = time.monotonic() - begun
    print(
        f"{summary.worlds} worlds in {took:.1f} s ({summary.worlds / took:.0f}/s, "
        f"{summary.cpu_seconds / summary.worlds * 1000:.1f} ms CPU each)"
    )
    print("worlds:  ", f"clean {summary.worlds - len(summary.failures)},",
          f"violating {len(summary.failures)}")  # fmt: skip
    print("answers: ", ", ".join(f"{kind} {n}" for kind, n in summary.answers.most_common()))
    print("EC2:     ", ", ".join(f"{fate} {n}" for fate, n in summary.fates.most_common()))
    for invariant, number in sorted(summary.violated.items()):
        seeds = [seed for seed, names, _ in summary.failures if invariant in names]
        print(f"violated: {invariant}: {number} worlds, seeds {' '.join(map(str, seeds[:10]))}")
    if summary.failures:
        seed = summary.failures[0][0]
        of = f" --scenario {of_worlds.scenario}" if of_worlds.scenario else ""
        print(f"replay: python -m tests.simulation --seed {seed} --trace{of}")
    return 1 if summary.failures else 0


def _mutation(start: int, of_worlds: campaign.Options, options: argparse.Namespace) -> int:
    found = _first_caught(start, of_worlds, options)
    if found is None:
        print(f"{options.mutation}: not noticed in {options.worlds} worlds")
        return 1
    seed, _, details = found
    print(f"{options.mutation}: noticed by seed {seed} after {seed - start + 1} worlds")
    print("\n".join(details))
    print(f"replay: python -m tests.simulation --seed {seed} --trace --mutation {options.mutation}")
    return 0


def _table(start: int, rules: Rules, options: argparse.Namespace) -> int:
    """Print the table of docs/guarantees.md, from the first seed on in each row."""
    print("| rule removed | mutation | first violating seed | violated invariants |")
    print("| --- | --- | --- | --- |")
    is_complete = True
    for name, mutation in mutations.MUTATIONS.items():
        of_worlds = campaign.Options(rules=rules, mutation=name)
        found = _first_caught(start, of_worlds, options)
        if found is None:
            is_complete = False
            print(f"| {mutation.rule} | `{name}` | none | |", flush=True)
        else:
            seed, names, _ = found
            letters = ", ".join(name[0] for name in names)
            print(f"| {mutation.rule} | `{name}` | {seed} | {letters} |", flush=True)
    return 0 if is_complete else 1


def _first_caught(
    start: int, of_worlds: campaign.Options, options: argparse.Namespace
) -> tuple[int, list[str], list[str]] | None:
    """Find the first seed that is violated with the mutation and not without it."""
    checked = 0
    caught: list[tuple[int, list[str], list[str]]] = []

    def is_caught(summary: campaign.Summary) -> bool:
        nonlocal checked
        while checked < len(summary.failures) and not caught:
            failure = summary.failures[checked]
            checked += 1
            plain = campaign.run_chunk((failure[0], 1), replace(of_worlds, mutation=None))
            new = set(failure[1]) - set(plain.violated)
            if new:
                caught.append((failure[0], sorted(new), failure[2]))
        return bool(caught)

    campaign.run(
        start,
        options.worlds,
        of_worlds,
        processes=options.processes,
        seconds=options.seconds,
        until=is_caught,
    )
    return caught[0] if caught else None


if __name__ == "__main__":
    sys.exit(main())
