"""Which worker class: requests a second for callers side by side, EC2 near and far."""

from tests.benchmarks.figures import throughput
from tests.benchmarks.servers import dcproxy
from tests.support import instant_ec2
from tests.support.servers import WORKER

CALLERS = (1, 8, 32, 128)
WORKERS = {"gevent": WORKER, "gthread, 64 threads": ("--worker-class=gthread", "--threads=64")}
SECONDS = 3


def print_workers(machine):
    """Print a table: a row for each worker class, a column for each number of callers."""
    print(machine)
    for delay in (0.01, 0.1):
        print(f"\nEC2 {delay * 1000:.0f} ms away: requests a second, one worker")
        print("| worker |" + "".join(f" {callers} callers |" for callers in CALLERS))
        print("| --- |" + " --- |" * len(CALLERS))
        for name, arguments in WORKERS.items():
            with instant_ec2.running(delay=delay) as url, dcproxy(url, arguments) as worker:
                throughput(worker, 8, 0.5)
                rates = [throughput(worker, callers, SECONDS) for callers in CALLERS]
            print(f"| {name} |" + "".join(f" {rate:.0f} |" for rate in rates), flush=True)
