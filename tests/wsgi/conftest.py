"""WebTest clients of the application, in front of moto or of the programmed EC2."""

import re
from collections.abc import Callable

import pytest
from webtest import TestApp

from tests.support import application
from tests.support.application import client_of, shared_application
from tests.support.creation import CreationScenario
from tests.support.ec2_server import ProgrammedEC2
from tests.support.moto import forget_everything


@pytest.fixture(autouse=True)
def sleeps() -> list[float]:
    """Give the seconds that the application slept in this test, instead of sleeping."""
    application.recorded_sleeps.clear()
    return application.recorded_sleeps


@pytest.fixture(scope="module")
def moto_url(moto_url: str) -> str:
    """Give the address of moto without what other modules have created."""
    forget_everything(moto_url)
    return moto_url


@pytest.fixture
def client(moto_url: str) -> TestApp:
    """Make a client of dcproxy in front of moto."""
    return client_of(shared_application(ec2_endpoint_url=moto_url))


@pytest.fixture
def anonymous_client(moto_url: str) -> TestApp:
    """Make a client without credentials, in front of moto."""
    return client_of(shared_application(ec2_endpoint_url=moto_url), caller=None)


@pytest.fixture
def client_with(programmed_ec2: ProgrammedEC2) -> Callable[..., TestApp]:
    """Make clients of dcproxy with some options, in front of the programmed EC2."""

    def make(**options: object) -> TestApp:
        return client_of(shared_application(ec2_endpoint_url=programmed_ec2.url, **options))

    return make


@pytest.fixture
def programmed_client(client_with: Callable[..., TestApp]) -> TestApp:
    """Make a client of dcproxy in front of the programmed EC2."""
    return client_with(read_timeout=1)


@pytest.fixture
def scenario(programmed_ec2: ProgrammedEC2, sleeps: list[float]) -> CreationScenario:
    """Give clients of dcproxy that create snapshots, in front of the programmed EC2."""
    return CreationScenario(programmed_ec2, sleeps)


_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL_VALUE = re.compile(r'"([^"]*)"')


def metrics_of(client: TestApp, name: str = "") -> dict[tuple[str, ...], float]:
    """Read all metrics, or one: the values by name and labels, without quotes or backslashes."""
    response = client.get("/metrics", {"name[]": name} if name else None)
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (name, *sorted(_LABEL_VALUE.findall(labels))): float(value)
        for name, labels, value in _SAMPLE.findall(response.text)
    }


@pytest.fixture
def increase_of(programmed_client: TestApp) -> Callable[..., float]:
    """Give the increase of a metric since the test began."""
    before = metrics_of(programmed_client)

    def increase(*key: str) -> float:
        return metrics_of(programmed_client, key[0]).get(key, 0) - before.get(key, 0)

    return increase
