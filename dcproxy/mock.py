"""An EC2 of our own for ``dcproxy -i mock`` and for tests: moto's server with something in it.

Run as a module it serves on a free loopback port, prints its URL, and ends with its standard
input, so that it never outlives the process that started it.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import boto3

from dcproxy.ec2 import session_without_host

_STOP_TIMEOUT_SECONDS = 1


@contextmanager
def running() -> Iterator[str]:
    """Run a mock EC2 in a process of its own, and give its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dcproxy.mock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # Without the snapshots of hundreds of machine images, which nobody asked for.
        env={**os.environ, "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"},
        # Ctrl-C is for the server in front of it.
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101
    # It is right here, whatever proxy the host has for elsewhere.
    for variable in ("no_proxy", "NO_PROXY"):
        os.environ[variable] = ",".join(filter(None, [os.environ.get(variable), "127.0.0.1"]))
    owner = os.getpid()
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError("the mock EC2 did not start")
        yield url
    finally:
        if os.getpid() == owner:  # not a server's forked worker on its way out
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def add_examples(url: str, region: str) -> None:
    """Put three volumes and four snapshots of them into the EC2 at ``url``."""
    ec2 = boto3.Session(botocore_session=session_without_host()).client(
        "ec2",
        region_name=region,
        endpoint_url=url,
        aws_access_key_id="mockuser",
        aws_secret_access_key="mockpassword",  # noqa: S106
    )
    for name, size, descriptions in (
        ("database", 80, ("nightly", "before the upgrade")),
        ("web", 8, ("nightly",)),
        ("archive", 500, ("first fill",)),
    ):
        volume = ec2.create_volume(
            AvailabilityZone=f"{region}a",
            Size=size,
            TagSpecifications=[_named("volume", name)],
        )
        for description in descriptions:
            ec2.create_snapshot(
                VolumeId=volume["VolumeId"],
                Description=description,
                TagSpecifications=[_named("snapshot", f"{name}, {description}")],
            )


def _named(resource_type: str, name: str) -> dict[str, object]:
    return {"ResourceType": resource_type, "Tags": [{"Key": "Name", "Value": name}]}


def _serve() -> None:
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    server = make_server(
        "127.0.0.1",
        0,
        DomainDispatcherApplication(create_backend_app),
        threaded=True,
        request_handler=MotoRequestHandler,
    )
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


def _end_with_standard_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _serve()
