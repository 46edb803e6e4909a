"""Clients that send at full speed and so would keep a worker from serving anybody else.

Run as ``python -m tests.support.floods PORT FLOOD SECONDS``: one connection at a time, opened again
whenever the server closes it. It prints ``ready`` when the first bytes were sent.
"""

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

_HEAD = b"POST /api HTTP/1.1\r\nHost: h\r\n"

FLOODS = {
    "pipelined requests": (b"", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 1000),
    "endless body": (_HEAD + b"Content-Length: 999999999999\r\n\r\n", b"x" * 65536),
    "endless chunks": (
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n",
        b"10000\r\n" + b"x" * 65536 + b"\r\n",
    ),
    "tiny chunks": (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000),
    "endless head": (b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 1000),
}
"""What each sends: once, and then again and again."""


def flood(port, name, seconds):
    """Send for some seconds, reading all answers."""
    first, again = FLOODS[name]
    end = time.monotonic() + seconds
    is_ready = False
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            threading.Thread(target=_discard, args=[connection], daemon=True).start()
            connection.sendall(first + again)
            if not is_ready:
                print("ready", flush=True)
                is_ready = True
            while time.monotonic() < end:
                connection.sendall(again)


def _discard(connection):
    with suppress(OSError):
        while connection.recv(1 << 20):
            pass


@contextmanager
def flooding(port, name, seconds, connections=1):
    """Flood a port from processes of their own, which are given."""
    command = [sys.executable, "-m", "tests.support.floods", str(port), name, str(seconds)]
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) for _ in range(connections)
    ]
    try:
        for process in processes:
            assert process.stdout.readline() == b"ready\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait(60)
            process.stdout.close()


def longest_wait(server, seconds, address="/healthz"):
    """Send requests one after another, each on a new connection; give the longest in seconds."""
    end = time.monotonic() + seconds
    longest = 0.0
    while (started := time.monotonic()) < end:
        assert server.get(address)[0].status == 200
        longest = max(longest, time.monotonic() - started)
    return longest


if __name__ == "__main__":
    flood(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
