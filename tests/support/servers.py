"""Real servers for the live tests: started on free ports, polled until they answer, ended."""

import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.support.launcher import BIN, LIMIT_SECONDS, WORKER_CLASS, start

ROOT = Path(__file__).parents[2]
PROXY_INI = ROOT / "proxy.ini"
WORKER = (WORKER_CLASS, "--worker-connections=10000")

NOWHERE = "http://127.0.0.1:1"
"""An endpoint for tests that call no EC2."""


def wait_until(condition, what, limit=LIMIT_SECONDS):
    """Poll until ``condition`` gives something true, and give it back."""
    deadline = time.monotonic() + limit
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit} s for {what}")
        time.sleep(0.02)
    return result


def free_port():
    """Find a port that nobody listens on, for a server that cannot choose one itself."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def children(pid):
    """List the processes that a process has started."""
    try:
        listing = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except FileNotFoundError:  # it has ended
        return []
    return list(map(int, listing.split()))


class Server:
    """A process that serves HTTP on ``port`` and writes its log to ``log``."""

    def __init__(self, process, port, log):
        self.process = process
        self.port = port
        self.log = log

    def connect(self):
        return HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_SECONDS)

    def get(self, address, headers=None, method="GET", body=None):
        connection = self.connect()
        try:
            connection.request(method, address, body=body, headers=headers or {})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def exchange(self, request, is_all=False):
        """Send bytes, and receive until the server closes; ``is_all``: close our direction."""
        with socket.create_connection(("127.0.0.1", self.port), LIMIT_SECONDS) as connection:
            connection.sendall(request)
            if is_all:
                connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as response:
                return response.read()


@contextmanager
def running(command, log_file, cwd=None, env=None) -> Iterator[Server]:
    """Run a command whose log says where it listens, until the block ends."""
    with open(log_file, "w") as log:
        process = start(command, log, log, cwd, env)
    try:
        port = wait_until(lambda: _port(process, log_file), "the server to listen")
        yield Server(process, port, log_file)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(LIMIT_SECONDS)
        finally:
            process.kill()


def _port(process, log_file):
    text = log_file.read_text()
    assert process.poll() is None, f"the server ended: {text}"
    listening = re.search(r"Listening at: https?://127\.0\.0\.1:(\d+)", text)
    return int(listening[1]) if listening and "Booting worker" in text else None


def replaced(text, *pairs):
    """Replace what is there: a text that is not is a mistake of the test."""
    for old, new in pairs:
        assert old in text
        text = text.replace(old, str(new))
    return text


def proxy_ini(endpoint, *pairs):
    """Give ``proxy.ini``'s own text with an EC2 at ``endpoint``, and other replacements."""
    there = f"ec2_endpoint_url = {endpoint}"
    own = PROXY_INI.read_text()
    return replaced(own, ("#ec2_endpoint_url = https://ec2.example.org/", there), *pairs)


def with_options(text, options):
    """Set options of dcproxy in the text of ``proxy.ini``, whether it has them or not."""
    for name, value in options.items():
        text = re.sub(rf"^#?{name} = .*\n", "", text, flags=re.MULTILINE)
        text = text.replace("use = egg:dcproxy\n", f"use = egg:dcproxy\n{name} = {value}\n", 1)
    return text


@contextmanager
def gunicorn(tmp_path, endpoint, *arguments, replace=(), options=None, env=None, prefix=()):
    """Run gunicorn with ``proxy.ini``'s own text, only the endpoint and some options replaced.

    ``prefix`` is a program, with its arguments, that runs gunicorn in its place.
    """
    ini = tmp_path / "proxy.ini"
    ini.write_text(with_options(proxy_ini(endpoint, *replace), options or {}))
    command = [*prefix, BIN / "gunicorn", "--paste", ini, "--bind", "127.0.0.1:0", *arguments]
    with running(command, tmp_path / "gunicorn.log", cwd=tmp_path, env=env) as server:
        yield server
