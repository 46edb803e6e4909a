"""A real EC2 stand-in for all tests, and the application in front of it."""

import time
from collections.abc import Callable, Iterator

import boto3
import pytest
from botocore.client import BaseClient
from lxml import etree
from webtest import TestApp, TestResponse

from dcproxy import mock
from dcproxy.app import application
from dcproxy.settings import Settings
from tests.programmed_ec2 import ProgrammedEC2

CALLER = ("AKIDEXAMPLE", "se/cr+et=:key")


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    with mock.running() as url:
        yield url


@pytest.fixture(scope="session")
def regional_ec2(moto_url: str) -> Callable[[str], BaseClient]:
    """EC2 itself in a region, to arrange and to look at what the application has done."""

    def client(region: str) -> BaseClient:
        return boto3.client(
            "ec2",
            region_name=region,
            endpoint_url=moto_url,
            aws_access_key_id="arranger",
            aws_secret_access_key="secret",
        )

    return client


@pytest.fixture(scope="session")
def ec2(regional_ec2: Callable[[str], BaseClient]) -> BaseClient:
    return regional_ec2("us-east-1")


@pytest.fixture
def volume_id(ec2: BaseClient) -> str:
    return ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)["VolumeId"]


@pytest.fixture
def snapshot_id(ec2: BaseClient, volume_id: str) -> str:
    return ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]


def client_of(
    settings: Settings,
    caller: tuple[str, str] | None = CALLER,
    pause: Callable[[float], None] = time.sleep,
) -> TestApp:
    app = TestApp(application(settings, pause), extra_environ={"HTTP_HOST": "localhost:3001"})
    if caller:
        app.authorization = ("Basic", caller)
    return app


@pytest.fixture(scope="session")
def settings(moto_url: str) -> Settings:
    return Settings(ec2_endpoint_url=moto_url)


@pytest.fixture(scope="session")
def client(settings: Settings) -> TestApp:
    return client_of(settings)


@pytest.fixture
def stranger(settings: Settings) -> TestApp:
    """A client without credentials."""
    return client_of(settings, caller=None)


@pytest.fixture(scope="session")
def ec2_of_the_session() -> Iterator[ProgrammedEC2]:
    with ProgrammedEC2() as ec2:
        yield ec2


@pytest.fixture(scope="session")
def client_of_the_session(ec2_of_the_session: ProgrammedEC2) -> TestApp:
    settings = Settings(ec2_endpoint_url=ec2_of_the_session.url, read_timeout=1)
    return client_of(settings, pause=lambda seconds: None)


@pytest.fixture
def programmed_ec2(ec2_of_the_session: ProgrammedEC2) -> ProgrammedEC2:
    ec2_of_the_session.reset()
    return ec2_of_the_session


@pytest.fixture
def client_of_programmed(client_of_the_session: TestApp) -> TestApp:
    client_of_the_session.authorization = ("Basic", CALLER)
    return client_of_the_session


@pytest.fixture
def xml() -> Callable[[TestResponse], etree._Element]:
    """Read an XML answer strictly."""

    def read(response: TestResponse) -> etree._Element:
        assert response.headers["Content-Type"] == "application/xml"
        return etree.fromstring(response.body)

    return read
