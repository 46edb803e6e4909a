"""How many threads: requests a second for callers side by side, EC2 near and far."""

from tests.benchmarks.figures import throughput
from tests.benchmarks.servers import dcproxy
from tests.support import instant_ec2

CALLERS = (1, 8, 32, 128)
THREADS = (8, 32, 64, 128)
SECONDS = 3


def print_threads(machine):
    """Print a table: a row for each number of threads, a column for each number of callers."""
    print(machine)
    for delay in (0.01, 0.1):
        print(f"\nEC2 {delay * 1000:.0f} ms away: requests a second, one worker")
        print("| threads |" + "".join(f" {callers} callers |" for callers in CALLERS))
        print("| --- |" + " --- |" * len(CALLERS))
        for threads in THREADS:
            with instant_ec2.running(delay=delay) as url, dcproxy(url, threads) as worker:
                throughput(worker, 8, 0.5)
                rates = [throughput(worker, callers, SECONDS) for callers in CALLERS]
            print(f"| {threads} |" + "".join(f" {rate:.0f} |" for rate in rates), flush=True)
