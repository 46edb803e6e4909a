"""``python -m tests.benchmarks``: all figures, or those that are named, beside their targets."""

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from tests.benchmarks.figures import FIGURES
from tests.benchmarks.workers import print_workers


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
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(FIGURES)}, workers")
    parser.add_argument("--rounds", type=int, default=60, help="requests of each side")
    parser.add_argument("--smoke", action="store_true", help="two rounds, targets not judged")
    parser.add_argument("--json", action="store_true", help="for machines")
    given = parser.parse_args()
    for name in given.names:
        if name not in {*FIGURES, "workers"}:
            parser.error(f"there is no benchmark {name!r}: {', '.join(FIGURES)}, workers")
    if given.names == ["workers"]:
        print_workers(machine())
        return
    rounds = 2 if given.smoke else given.rounds
    names = given.names or list(FIGURES)
    figures = [figure for name in names for figure in FIGURES[name](rounds)]
    if given.json:
        values = [figure._asdict() | {"is_met": figure.is_met} for figure in figures]
        print(json.dumps({"machine": machine(), "figures": values}, indent=1))
    else:
        print(machine())
        print(f"{'figure':<52} {'measured':>10} {'target':>14}  {'quartiles':<13}")
        for figure in figures:
            limit = f"{'>=' if figure.at_least else '<='} {figure.limit:g} {figure.unit}"
            spread = "{:.2f} - {:.2f}".format(*figure.spread) if figure.spread else ""
            verdict = "" if figure.is_met else "  MISSED"
            print(
                f"{figure.name:<52} {figure.value:>7.2f} {figure.unit:<2} {limit:>14}"
                f"  {spread:<13}{verdict}"
            )
    sys.exit(not given.smoke and not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    main()
