"""``python -m tests.benchmarks``: all figures, or those that are named, beside their targets."""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from tests.benchmarks.figures import FIGURES
from tests.benchmarks.hostile import hostile
from tests.benchmarks.soak import soak
from tests.benchmarks.workers import print_workers

BENCHMARKS = FIGURES | {"hostile": hostile, "soak": soak}


def machine():
    model = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return f"{os.cpu_count()} cores of {model[0] if model else platform.machine()}, " + (
        f"Python {platform.python_version()}"
    )


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(BENCHMARKS)}, workers")
    parser.add_argument("--rounds", type=int, default=60, help="requests of each side")
    parser.add_argument("--minutes", type=float, default=10, help="duration of soak")
    parser.add_argument("--smoke", action="store_true", help="the shortest, targets not judged")
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args()
    for name in given.names:
        if name not in {*BENCHMARKS, "workers"}:
            parser.error(f"there is no benchmark {name!r}: {', '.join(BENCHMARKS)}, workers")
    if given.names == ["workers"]:
        print_workers(machine())
        return
    if given.smoke:
        given.rounds, given.minutes = 2, 0.05
    names = given.names or list(BENCHMARKS)
    amounts = dict.fromkeys(BENCHMARKS, given.rounds) | {"soak": given.minutes}
    measured = (figure for name in names for figure in BENCHMARKS[name](amounts[name]))
    if given.json:
        figures = list(measured)
        values = [figure._asdict() | {"is_met": figure.is_met} for figure in figures]
        print(json.dumps({"machine": machine(), "figures": values}, indent=1))
    else:
        print(machine())
        print(f"{'figure':<52} {'measured':>10} {'target':>14}  {'quartiles':<13}", flush=True)
        figures = list(map(printed, measured))
    sys.exit(not given.smoke and not all(figure.is_met for figure in figures))


def printed(figure):
    """Print a line of the table, and give the figure."""
    limit = f"{'>=' if figure.at_least else '<='} {figure.limit:g} {figure.unit}"
    spread = "{:.2f} - {:.2f}".format(*figure.spread) if figure.spread else ""
    verdict = "" if figure.is_met else "  MISSED"
    print(
        f"{figure.name:<52} {figure.value:>7.2f} {figure.unit:<2} {limit:>14}"
        f"  {spread:<13}{verdict}",
        flush=True,
    )
    return figure


if __name__ == "__main__":
    main()
