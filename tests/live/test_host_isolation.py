"""Credentials and configuration of the host are never used."""

import os

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.ec2_server import programmed_ec2_server
from tests.support.servers import BIN, gunicorn, running


@pytest.fixture(scope="module")
def metadata():
    """Run the address of the host's metadata service: nothing must request it."""
    with programmed_ec2_server() as listener:
        yield listener


@pytest.fixture(scope="module")
def server(ec2_server, metadata, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / ".aws/models").mkdir(parents=True)
    keys = "[default]\naws_access_key_id = AKIDOFTHEHOST\naws_secret_access_key = hostsecret\n"
    (home / ".aws/credentials").write_text(keys)
    (home / ".aws/config").write_text(f"{keys}endpoint_url = {metadata.url}\nregion = eu-west-1\n")
    (home / ".aws/models/endpoints.json").write_text('{"partitions": [], "version": 3}')
    env = os.environ | {
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": "AKIDOFTHEHOST",
        "AWS_SECRET_ACCESS_KEY": "hostsecret",
        "AWS_SESSION_TOKEN": "hosttoken",
        "AWS_PROFILE": "nobody",
        "AWS_ENDPOINT_URL": metadata.url,
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": metadata.url,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
    }
    folder = tmp_path_factory.mktemp("host")
    with gunicorn(folder, ec2_server.url, env=env) as server:
        yield server


def test_requests_are_signed_with_the_callers_key_only(server, programmed_ec2, metadata):
    response, _ = server.get(SNAPSHOTS, {"Authorization": AUTHORIZATION})
    assert response.status == 200
    assert [request.access_key_id for request in programmed_ec2.requests] == ["AKIDEXAMPLE"]
    assert metadata.requests == []


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic Og=="}])
def test_request_without_a_key_is_never_signed(server, programmed_ec2, metadata, headers):
    response, _ = server.get(SNAPSHOTS, headers)
    assert response.status == 401
    assert programmed_ec2.requests == []
    assert metadata.requests == []


def test_mock_ignores_the_proxy_of_the_host(tmp_path):
    env = os.environ | {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    command = [BIN / "dcproxy", "-i", "mock", "-p", "0"]
    with running(command, tmp_path / "log", env=env) as server:
        response, _ = server.get(SNAPSHOTS, {"Authorization": AUTHORIZATION})
        assert response.status == 200
