"""Many worlds on several processes, counted."""

import gc
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from tests.simulation import mutations, replica, world
from tests.simulation.invariants import Rules

_CHUNK = 50


@dataclass(slots=True)
class Summary:
    """``failures`` are (seed, invariants violated, details), in the order of their seeds."""

    worlds: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    violated: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, list[str], list[str]]] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def add(self, other: "Summary") -> None:
        self.worlds += other.worlds
        self.answers += other.answers
        self.fates += other.fates
        self.violated += other.violated
        self.failures = sorted(self.failures + other.failures)
        self.cpu_seconds += other.cpu_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What worlds to run: those of ``scenario`` (by name; None: drawn), with ``mutation``."""

    rules: Rules = field(default_factory=Rules)
    scenario: str | None = None
    mutation: str | None = None


def run(
    start: int,
    worlds: int,
    options: Options,
    *,
    processes: int = 1,
    seconds: float | None = None,
    until: Callable[[Summary], bool] = lambda summary: False,
) -> Summary:
    """Run the worlds of the seeds from ``start`` on, until the time is up or ``until`` holds."""
    summary = Summary()
    begun = time.monotonic()
    chunks = (
        (first, min(_CHUNK, start + worlds - first))
        for first in range(start, start + worlds, _CHUNK)
    )
    for part in _parts(chunks, options, processes):
        summary.add(part)
        if until(summary) or (seconds is not None and time.monotonic() - begun > seconds):
            break
    return summary


def _parts(
    chunks: Iterator[tuple[int, int]], options: Options, processes: int
) -> Iterator[Summary]:
    work = partial(run_chunk, options=options)
    if processes == 1:
        yield from map(work, chunks)
        return
    # The applications are made before the fork, once for all processes.
    run_chunk((0, 20), options)
    gc.freeze()
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        # In order, so that the first failing seed does not depend on the processes.
        yield from pool.imap(work, chunks)


def run_chunk(chunk: tuple[int, int], options: Options) -> Summary:
    """Run ``(first seed, number)`` in this process."""
    first, number = chunk
    summary = Summary()
    begun = time.process_time()
    with replica.installed(), mutated(options.mutation):
        for seed in range(first, first + number):
            scenario = world.scenario_of(seed, options.scenario)
            result = world.run(seed, scenario, rules=options.rules)
            summary.worlds += 1
            summary.answers += result.answers
            summary.fates += result.fates
            if result.violations:
                names = sorted({violation.invariant for violation in result.violations})
                details = [f"{v.invariant}: {v.detail}" for v in result.violations]
                summary.violated.update(names)
                summary.failures.append((seed, names, details))
    summary.cpu_seconds = time.process_time() - begun
    return summary


def mutated(name: str | None) -> AbstractContextManager[object]:
    return mutations.MUTATIONS[name].apply() if name else nullcontext()
