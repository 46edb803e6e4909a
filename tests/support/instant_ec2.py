"""An EC2 that answers at once, or after a set delay, with pages that it made beforehand.

Run as ``python -m tests.support.instant_ec2 --pages 1 --delay 0.01``; it prints its URL, serves
until its standard input ends, and counts connections and requests at ``GET /counts``.
"""

import argparse
import asyncio
import http.client
import json
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.support.ec2_responses import (
    created_response,
    deleted_response,
    snapshot_item,
    snapshots_page,
)

PAGE_SIZE = 1000
ONE_ID = "snap-00000000000000001"


def item(number: int) -> str:
    """Give a snapshot as EC2 sends it: one element per line, and elements that dcproxy ignores."""
    bare = snapshot_item(
        f"snap-{number:017x}",
        f"vol-{number * 7919:017x}",
        f"20{10 + number % 15}-{1 + number % 12:02}-{1 + number % 28:02}T21:54:19.123Z",
        description=f"Created by CreateImage(i-{number:08x}) for ami-{number:08x}",
        # Tags of other accounts are not returned: few public snapshots have a name.
        name=f"nightly {number}" if number % 10 == 0 else None,
    ).removesuffix("</item>")
    more = "<encrypted>false</encrypted><storageTier>standard</storageTier></item>"
    return "        " + (bare + more).replace("><", ">\n            <") + "\n"


def page(number: int, next_token: str) -> bytes:
    start = number * PAGE_SIZE
    return snapshots_page("".join(map(item, range(start, start + PAGE_SIZE))), next_token).body


def head(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(body)


class InstantEC2:
    def __init__(self, pages: int, delay: float, late: float) -> None:
        self.pages = pages
        self.delay = delay
        self.late = late
        self.counts = {"connections": 0, "requests": 0}
        self.one = snapshots_page(item(1)).body
        self.created = created_response(item(1).strip()).body
        self.deleted = deleted_response().body
        # All pages but the last differ only in their token: one template is enough.
        self.template = page(0, "TOKEN")
        self.last = page(0, "")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        try:
            while True:
                request = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", request)
                body = await reader.readexactly(int(length[1])) if length else b""
                if request.startswith(b"GET /counts"):
                    answer = json.dumps(self.counts).encode()
                else:
                    self.counts["requests"] += 1
                    token = re.search(rb"NextToken=(\d+)", body)
                    number = int(token[1]) if token else 0
                    await asyncio.sleep(self.delay + (self.late if number == 1 else 0))
                    answer = self.answer(body, number)
                writer.write(head(answer) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, body: bytes, number: int) -> bytes:
        if b"Action=CreateSnapshot" in body:
            return self.created
        if b"Action=DeleteSnapshot" in body:
            return self.deleted
        return self.one if b"SnapshotId" in body else self.page(number)

    def page(self, number: int) -> bytes:
        if number >= self.pages - 1:
            return self.last
        return self.template.replace(b"TOKEN", b"%d" % (number + 1), 1)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=1)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--late", type=float, default=0.0)
    given = parser.parse_args()
    ec2 = InstantEC2(given.pages, given.delay, given.late)
    server = await asyncio.start_server(ec2.serve, "127.0.0.1", 0, limit=2**20, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def running(**options):
    """Run the instant EC2 in a process of its own; give its URL."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.instant_ec2", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(60)


def counts(ec2_url):
    """Connections and requests that an instant EC2 has had."""
    host = ec2_url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", "/counts")
    return json.loads(connection.getresponse().read())


if __name__ == "__main__":
    asyncio.run(main())
