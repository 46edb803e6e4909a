"""Responses that are lost behind a proxy: they are never taken for requests that were not sent."""

from datetime import UTC, datetime

import pytest

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.application import RUNTIME, client_of
from tests.support.certificates import make_certificate
from tests.support.creation import message_of
from tests.support.ec2_model import INSTANCE, EC2Model
from tests.support.ec2_server import programmed_ec2_server
from tests.support.package import Settings
from tests.support.package import application as new_application
from tests.support.proxies import DroppingProxy, Tinyproxy
from tests.support.servers import LIMIT_SECONDS

VOLUMES = "/api/storage_volumes"
VOLUME = f"{VOLUMES}/vol-12345678"
ATTACHED = (INSTANCE, "/dev/sdf", "attached")
REQUESTS = {
    "CreateSnapshot": ("POST", SNAPSHOTS, {"volume_id": "vol-12345678"}, 201),
    "DeleteSnapshot": ("DELETE", SNAPSHOT, {}, 204),
    "CreateVolume": ("POST", VOLUMES, {"realm_id": "us-east-1b"}, 201),
    "DeleteVolume": ("DELETE", VOLUME, {}, 204),
    "AttachVolume": (
        "POST",
        f"{VOLUME}/attach",
        {"instance_id": INSTANCE, "device": "/dev/sdf"},
        202,
    ),
    "DetachVolume": ("POST", f"{VOLUME}/detach", {}, 202),
}
IS_REPEATABLE = {"DeleteSnapshot", "CreateVolume", "DeleteVolume", "DetachVolume"}
"""A repetition has no other effect: EC2 refuses it, or knows the token."""


@pytest.fixture(scope="module", params=["http", "https"])
def server(request, tmp_path_factory):
    ca, key, signed = make_certificate(tmp_path_factory.mktemp("certificate"))
    tls = (str(signed), str(key)) if request.param == "https" else None
    with pytest.MonkeyPatch.context() as patch, programmed_ec2_server(tls) as server:
        patch.setenv("AWS_CA_BUNDLE", str(ca))
        yield server


@pytest.fixture(scope="module", params=[DroppingProxy, Tinyproxy])
def proxy(request, server, tmp_path_factory):
    proxy = request.param(tmp_path_factory.mktemp("proxy"))
    with pytest.MonkeyPatch.context() as patch, proxy.running():
        # A moto that runs has added the loopback address to both.
        patch.setenv("NO_PROXY", "")
        patch.setenv("no_proxy", "")
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, proxy.url)
            patch.setenv(name.lower(), proxy.url)
        yield proxy


@pytest.fixture(scope="module")
def application(server, proxy):
    def sleep(seconds):
        proxy.is_ready.wait(LIMIT_SECONDS)
        RUNTIME.sleep(seconds)

    settings = Settings(ec2_endpoint_url=server.url)
    return new_application(settings, RUNTIME._replace(sleep=sleep))


class Cloud:
    """A snapshot and a volume; ``send`` sends the request of an action and checks its status."""

    def __init__(self, action, server, application):
        self.action = action
        self.server = server
        server.respond = self.model = EC2Model()
        server.requests.clear()
        self.model.add_snapshot("snap-12345678", {}, datetime.now(UTC))
        attachment = ATTACHED if action == "DetachVolume" else None
        self.model.add_volume(id="vol-12345678", attachment=attachment)
        self.client = client_of(application)

    def send(self, status=None):
        method, address, parameters, usual = REQUESTS[self.action]
        send = {"POST": self.client.post, "DELETE": self.client.delete}[method]
        return send(address, parameters, status=status or usual)

    def call_after(self, number, lose):
        """Call ``lose`` after the given number of requests of the action were executed."""

        def respond(request):
            response = self.model(request)
            if len(self.sent) == number and request.action == self.action:
                lose()
            return response

        self.server.respond = respond

    @property
    def sent(self):
        return [request for request in self.server.requests if request.action == self.action]

    def is_done_once(self):
        volumes = self.model.volumes
        attachment = getattr(volumes.get("vol-12345678"), "attachment", None)
        return {
            "CreateSnapshot": len(self.model.snapshots) == 2,
            "DeleteSnapshot": not self.model.snapshots,
            "CreateVolume": len(volumes) == 2,
            "DeleteVolume": not volumes,
            "AttachVolume": attachment is not None,
            "DetachVolume": attachment is None,
        }[self.action]


@pytest.fixture(params=REQUESTS)
def cloud(request, server, application):
    return Cloud(request.param, server, application)


def test_action_works_through_the_proxy(cloud):
    cloud.send()
    assert len(cloud.sent) == 1
    assert cloud.is_done_once()


def test_action_whose_response_is_lost_succeeds_and_has_its_effect_once(cloud, proxy):
    cloud.call_after(1, proxy.lose_response)
    cloud.send()
    assert cloud.is_done_once()
    assert len(cloud.sent) == (2 if cloud.action in IS_REPEATABLE else 1)
    assert len({request.parameters.get("ClientToken") for request in cloud.sent}) == 1


def test_action_through_a_proxy_that_is_gone_then_is_not_known(cloud, proxy):
    cloud.call_after(1, proxy.stop)
    try:
        response = cloud.send(status=502)
    finally:
        proxy.start()
    may_be_repeated = cloud.action in {"DeleteSnapshot", "DeleteVolume"}
    assert ("It is not known whether EC2 has" in message_of(response)) != may_be_repeated
    assert len(cloud.sent) == 1
    assert cloud.is_done_once()
