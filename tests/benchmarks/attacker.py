"""A process with hostile connections: each sends some bytes at once and never reads.

Run as ``python -m tests.benchmarks.attacker PORT ATTACK=COUNT... [--seconds 60]``. It prints
``ready`` when all connections are made, and holds those that the server does not close until its
standard input ends. One thread polls all connections, so that it leaves the CPU to the server.
"""

import argparse
import base64
import resource
import select
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.addresses import SNAPSHOTS


def _invented_key(number):
    return base64.b64encode(f"AKIDINVENTED{number}:secret".encode()).decode()


def _half_head(number):
    return f"GET {SNAPSHOTS} HTTP/1.1\r\nHost: h\r\nX-Number: {number}\r\n".encode()


def _half_body(number):
    head = (
        f"POST {SNAPSHOTS} HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {_invented_key(number)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
    )
    return head.encode() + b"volume_id=vol-1&name=".ljust(500, b"x")


def _half_handshake(number):
    """The first bytes of a ClientHello (RFC 8446, section 4.1.2) that announces 512."""
    return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + number.to_bytes(32, "big")


def _whole_request(number):
    key = _invented_key(number)
    return f"GET {SNAPSHOTS} HTTP/1.1\r\nHost: h\r\nAuthorization: Basic {key}\r\n\r\n".encode()


ATTACKS = {
    "silent": lambda number: b"",
    "half heads": _half_head,
    "half bodies": _half_body,
    "half handshakes": _half_handshake,
    "stopped readers": _whole_request,
    "silent, steadily": lambda number: b"",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("attacks", nargs="+")
    parser.add_argument("--seconds", type=float, required=True, help="duration of steady attacks")
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    schedule = []
    for text in given.attacks:
        name, count = text.split("=")
        duration = given.seconds if name.endswith("steadily") else 0
        for number in range(int(count)):
            schedule.append((duration * number / int(count), ATTACKS[name](number)))
    schedule.sort(key=lambda planned: planned[0], reverse=True)
    attack(given.port, schedule)


def attack(port, schedule):
    """Make connections at their times, the last of the schedule first, until stdin ends."""
    poll = select.epoll()
    poll.register(sys.stdin, select.EPOLLIN)
    connections = {}
    unsent = {}
    start = time.monotonic()
    is_ready = False
    while True:
        while schedule and schedule[-1][0] <= time.monotonic() - start:
            _, data = schedule.pop()
            connection = socket.socket()
            # A small buffer, so that the server soon finds that nothing is read.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
            connections[connection.fileno()] = connection
            unsent[connection.fileno()] = data
            poll.register(connection, select.EPOLLOUT)
        if not (schedule or unsent or is_ready):
            print("ready", flush=True)
            is_ready = True
        wait = max(schedule[-1][0] - (time.monotonic() - start), 0) if schedule else 1
        for number, event in poll.poll(wait):
            if number == sys.stdin.fileno():
                return
            if event & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
                unsent.pop(number, None)
                connections.pop(number).close()
            elif number in unsent:
                with suppress(ConnectionError):  # the next event closes it
                    connections[number].send(unsent.pop(number))
                poll.modify(number, select.EPOLLRDHUP)


@contextmanager
def attacking(port, attacks, seconds):
    """Attack a port from a process of its own; give the process, which prints ``ready``."""
    arguments = [str(port), *(f"{name}={count}" for name, count in attacks.items())]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.attacker", *arguments, f"--seconds={seconds}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(10)


if __name__ == "__main__":
    main()
