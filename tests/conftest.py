"""Fixtures that several kinds of tests share: moto, and the programmed EC2."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import hypothesis
import prometheus_client
import pytest
from botocore.client import BaseClient
from hypothesis import HealthCheck

from tests.support.ec2_server import EC2Server, ProgrammedEC2
from tests.support.moto import native_client
from tests.support.package import running_moto
from tests.support.sts_server import STS, STSServer

LIVE_FOLDERS = {"live", "browser"}

# They double the metrics of one process; those of several workers have none either.
prometheus_client.disable_created_metrics()
# The host's own file of certificates would be loaded for each application.
os.environ.pop("AWS_CA_BUNDLE", None)

for name, examples, steps in (("quick", 10, 10), ("thorough", 300, 50)):
    hypothesis.settings.register_profile(
        name,
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
# ``--hypothesis-profile thorough`` takes the other one.
hypothesis.settings.load_profile("quick")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no live tests where none is selected: that takes half of the collection's time."""
    is_live = collection_path.is_dir() and collection_path.name in LIVE_FOLDERS
    return (is_live and config.option.markexpr == "not live") or None


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run twice as many tests at once as there are processors: those that are live wait much."""
    return None if config.option.markexpr == "not live" else 2 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes of their own."""
    folder = Path(__file__).parent
    for item in items:
        if LIVE_FOLDERS & set(item.path.relative_to(folder).parts):
            item.add_marker(pytest.mark.live)


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
