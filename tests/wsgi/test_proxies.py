"""Responses that are lost behind a proxy: they are never taken for requests that were not sent."""

import pytest

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.application import client_of, new_application
from tests.support.certificates import make_certificate
from tests.support.dropping_proxy import dropping_proxy
from tests.support.ec2_model import INSTANCE, EC2Model
from tests.support.ec2_responses import (
    created_response,
    deleted_response,
    error_response,
    snapshot_item,
    snapshots_page,
)
from tests.support.ec2_server import programmed_ec2_server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["http", "https"])
def ec2(request, certificate):
    _, key, signed = certificate
    tls = (str(signed), str(key)) if request.param == "https" else None
    with programmed_ec2_server(tls) as ec2:
        yield ec2


@pytest.fixture
def proxy(monkeypatch, certificate):
    with dropping_proxy() as proxy:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate[0]))
        # A moto that runs has added the loopback address to both.
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        yield proxy


@pytest.fixture
def client(ec2, proxy):
    return client_of(new_application(ec2_endpoint_url=ec2.url))


def dropping_first(proxy, action, respond):
    """Let the proxy drop the first response to an action."""
    seen = []

    def respond_and_drop(request):
        if request.action == action:
            seen.append(request)
            proxy.drops = len(seen) == 1
        return respond(request)

    return respond_and_drop


def sent(ec2, action):
    return len([request for request in ec2.requests if request.action == action])


def test_create_whose_response_is_lost_makes_one_snapshot(client, ec2, proxy):
    made = []

    def respond(request):
        if request.action == "CreateSnapshot":
            tags = "".join(
                f"<item><key>{request.parameters[f'TagSpecification.1.Tag.{number}.Key']}</key>"
                f"<value>{request.parameters[f'TagSpecification.1.Tag.{number}.Value']}</value></item>"
                for number in (1, 2)
                if f"TagSpecification.1.Tag.{number}.Key" in request.parameters
            )
            item = snapshot_item("snap-12345678").replace(
                "</item>", f"<tagSet>{tags}</tagSet></item>"
            )
            made.append(item)
            return created_response(item)
        return snapshots_page("".join(made))

    ec2.respond = dropping_first(proxy, "CreateSnapshot", respond)
    response = client.post(SNAPSHOTS, {"volume_id": "vol-12345678"}, status=201)
    assert response.headers["Location"].endswith("/snap-12345678")
    assert sent(ec2, "CreateSnapshot") == 1
    assert sent(ec2, "DescribeSnapshots") >= 1


def test_delete_whose_response_is_lost_is_204(client, ec2, proxy):
    remaining = ["snap-12345678"]

    def respond(request):
        if not remaining:
            return error_response("InvalidSnapshot.NotFound")
        remaining.clear()
        return deleted_response()

    ec2.respond = dropping_first(proxy, "DeleteSnapshot", respond)
    client.delete(SNAPSHOT, status=204)
    assert sent(ec2, "DeleteSnapshot") == 2


@pytest.mark.parametrize("action", ["AttachVolume", "CreateVolume"])
def test_attach_and_create_of_a_volume_have_their_effect_once(client, ec2, proxy, action):
    volumes = EC2Model()
    ec2.respond = dropping_first(proxy, action, volumes)
    if action == "AttachVolume":
        address = f"/api/storage_volumes/{volumes.add_volume()}/attach"
        client.post(address, {"instance_id": INSTANCE, "device": "/dev/sdf"}, status=202)
        assert sent(ec2, action) == 1
    else:
        client.post("/api/storage_volumes", {"realm_id": "us-east-1b"}, status=201)
        tokens = {r.parameters["ClientToken"] for r in ec2.requests if r.action == action}
        assert (sent(ec2, action), len(tokens), len(volumes.volumes)) == (2, 1, 1)


def test_requests_work_through_the_proxy(client, ec2):
    ec2.respond = lambda request: snapshots_page(snapshot_item("snap-12345678"))
    for _ in range(2):
        client.get(SNAPSHOT, status=200)
