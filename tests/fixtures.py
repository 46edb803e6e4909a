"""Fixtures that several kinds of tests share: moto, and the programmed EC2."""

import os
from collections.abc import Callable, Iterator
from functools import partial

import prometheus_client
import pytest
from botocore.client import BaseClient

from tests.support.ec2_server import EC2Server, ProgrammedEC2
from tests.support.moto import native_client
from tests.support.package import running_moto
from tests.support.sts_server import STS, STSServer

# The host's own file of certificates would be loaded for each application.
os.environ.pop("AWS_CA_BUNDLE", None)
# The series "_created" double the length of /metrics; servers with several workers have none.
prometheus_client.disable_created_metrics()


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    with running_moto() as url:
        yield url


@pytest.fixture(scope="module")
def regional_ec2(moto_url: str) -> Callable[[str], BaseClient]:
    """Give native clients of moto, by region."""
    return partial(native_client, moto_url)


@pytest.fixture(scope="module")
def ec2(regional_ec2: Callable[[str], BaseClient]) -> BaseClient:
    return regional_ec2("us-east-1")


@pytest.fixture
def volume_id(ec2: BaseClient) -> str:
    return ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)["VolumeId"]


@pytest.fixture
def snapshot_id(ec2: BaseClient, volume_id: str) -> str:
    return ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]


@pytest.fixture(scope="session")
def ec2_server() -> Iterator[EC2Server]:
    """Run the address of all programmed EC2s of a session; what answers there is each test's."""
    with EC2Server() as server:
        yield server


@pytest.fixture
def programmed_ec2(ec2_server: EC2Server) -> Iterator[ProgrammedEC2]:
    ec2 = ec2_server.program()
    yield ec2
    ec2_server.ec2 = None
    ec2.check()


@pytest.fixture(scope="session")
def sts_server() -> Iterator[STSServer]:
    """Run the address of all stand-ins of STS; which one responds there is each test's."""
    with STSServer().running() as server:
        yield server


@pytest.fixture
def sts(sts_server: STSServer) -> Iterator[STS]:
    """Give an STS that hands out keys, and check the signatures of its requests."""
    sts_server.sts = STS(sts_server.url)
    yield sts_server.sts
    assert not sts_server.sts.problems
