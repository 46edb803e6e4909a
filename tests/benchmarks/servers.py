"""The servers of a benchmark: gunicorn with its one worker measured."""

import http.client
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from tests.support import servers
from tests.support.callers import AUTHORIZATION
from tests.support.launcher import ANEW

# States of TCP (the kernel's include/net/tcp_states.h): ESTABLISHED, FIN_WAIT1 and CLOSE_WAIT.
_HELD = {"01", "04", "08"}


@contextmanager
def dcproxy(ec2_url, arguments=servers.WORKER, options=None):
    """Run gunicorn with dcproxy in front of an EC2, and give its one worker."""
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.gunicorn(Path(folder), ec2_url, *arguments, options=options, prefix=ANEW) as server,
    ):
        yield Worker(server)


@contextmanager
def empty():
    """Run gunicorn with the application that does nothing, and give its one worker."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*ANEW, servers.BIN / "gunicorn", "tests.benchmarks.empty:app"]
        options = ["--bind=127.0.0.1:0", *servers.WORKER]
        log = Path(folder) / "log"
        root = Path(__file__).parents[2]
        with servers.running(command + options, log, cwd=root) as server:
            yield Worker(server)


class Worker:
    """gunicorn's worker process: its CPU time, its memory, and a connection to it."""

    def __init__(self, server):
        self.port = server.port
        [self.pid] = servers.children(server.process.pid)
        self.connection = self.connect()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def get(self, address, connection=None, authorization=AUTHORIZATION, status=200):
        connection = connection or self.connection
        connection.request("GET", address, headers={"Authorization": authorization})
        response = connection.getresponse()
        body = response.read()
        assert response.status == status, (response.status, body[:300])
        return body

    def cpu_of(self, address, authorization=AUTHORIZATION, status=200):
        """CPU seconds that the worker spends on one request."""
        # The clock of another process (clock_getcpuclockid(3)), in nanoseconds.
        clock = (~self.pid << 3) | 2
        before = time.clock_gettime(clock)
        self.get(address, authorization=authorization, status=status)
        return time.clock_gettime(clock) - before

    def memory(self, line="VmRSS"):
        """Megabytes that the worker holds, or at its peak since the last reset (VmHWM)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split(f"{line}:")[1].split()[0]) / 1024

    def reset_peak(self):
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def is_running(self):
        return Path(f"/proc/{self.pid}").exists()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def connections(self):
        """Count the connections of the worker's port whose data the server still has."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[1].endswith(f":{self.port:04X}") and row[3] in _HELD for row in rows)
