"""A mock EC2 for ``dcproxy -i mock`` and for tests: moto's server with some examples.

Run as a module, it listens on a free loopback port and prints its URL. It ends when its standard
input is closed, and so never outlives the process that started it.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import boto3
import botocore.session

from dcproxy.ec2.session import isolated_session


@contextmanager
def running() -> Iterator[str]:
    """Run a mock EC2 in its own process, and yield its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dcproxy.server.mock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Without the snapshots of moto's hundreds of machine images.
        env={**os.environ, "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"},
        # Ctrl-C stops the server in front of it, which then stops it.
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101
    for variable in ("no_proxy", "NO_PROXY"):  # the host's proxy, if any, is not for loopback
        os.environ[variable] = ",".join(filter(None, [os.environ.get(variable), "127.0.0.1"]))
    owner = os.getpid()
    try:
        if not (url := process.stdout.readline().strip()):
            raise RuntimeError("the mock EC2 did not start")
        yield url
    finally:
        if os.getpid() == owner:  # not in a forked worker that ends
            process.terminate()
            process.wait()


def add_examples(url: str, region: str) -> None:
    """Create three volumes and four snapshots in the EC2 at ``url``."""
    session = boto3.Session("mockuser", "mockpassword", None, region, isolated_session())
    ec2 = session.client("ec2", endpoint_url=url)

    def named(type: str, name: str) -> dict[str, object]:
        tags = [{"Key": "Name", "Value": name}]
        return {"TagSpecifications": [{"ResourceType": type, "Tags": tags}]}

    for name, size, descriptions in (
        ("database", 80, ("nightly", "before the upgrade")),
        ("web", 8, ("nightly",)),
        ("archive", 500, ("first fill",)),
    ):
        tags = named("volume", name)
        volume = ec2.create_volume(AvailabilityZone=f"{region}a", Size=size, **tags)
        for text in descriptions:
            tags = named("snapshot", f"{name}, {text}")
            ec2.create_snapshot(VolumeId=volume["VolumeId"], Description=text, **tags)


if __name__ == "__main__":
    # moto makes three sessions at its start, and each would load the model of EC2 anew.
    botocore.session.create_loader = cache(botocore.session.create_loader)
    from moto.server import ThreadedMotoServer  # an optional dependency

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
    sys.stdin.read()
    # Not a normal exit, which would wait for requests in progress.
    os._exit(0)
