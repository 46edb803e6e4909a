"""Scenarios of a create: clients of dcproxy, and an EC2 that fails as told."""

from webtest import TestApp, TestResponse

from tests.support.addresses import SNAPSHOTS
from tests.support.application import client_of, new_application, shared_application
from tests.support.ec2_model import EC2Model
from tests.support.ec2_responses import error_response
from tests.support.ec2_server import ProgrammedEC2

VOLUME = {"volume_id": "vol-12345678"}
KEY = {"Idempotency-Key": '"k"'}

FAILED = error_response("InternalError", 500)
THROTTLED = error_response("RequestLimitExceeded", 503)
DENIED = error_response("UnauthorizedOperation", 403)
EXECUTED, NOT_EXECUTED = True, False


def id_of(response: TestResponse) -> str:
    return response.lxml.get("id")


def message_of(response: TestResponse) -> str:
    return response.lxml.findtext("message")


class CreationScenario:
    """``client`` is a client of dcproxy; ``sleeps`` are the seconds that dcproxy slept."""

    def __init__(self, programmed_ec2: ProgrammedEC2, sleeps: list[float]) -> None:
        self._programmed_ec2 = programmed_ec2
        self._options = {"ec2_endpoint_url": programmed_ec2.url, "read_timeout": 1}
        self.sleeps = sleeps
        self.client = self.client_with()

    def client_with(self, **options) -> TestApp:
        return client_of(shared_application(**self._options, **options))

    def replica(self) -> TestApp:
        """Make a client of another dcproxy, which shares nothing with the first one."""
        return client_of(new_application(**self._options))

    def model(self, *create_faults, **options) -> EC2Model:
        """Replace EC2 by an empty one that has these faults."""
        model = EC2Model(create_faults, **options)
        self._programmed_ec2.respond = model
        return model

    def create(self, status=201, headers=None, client=None, **parameters) -> TestResponse:
        client = client or self.client
        return client.post(SNAPSHOTS, VOLUME | parameters, headers=headers or {}, status=status)
