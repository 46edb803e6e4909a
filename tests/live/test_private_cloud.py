"""EC2 over TLS with a private certificate authority, and through an HTTPS proxy."""

import os

import pytest
from lxml import etree

from tests.support.addresses import SNAPSHOT
from tests.support.callers import AUTHORIZATION
from tests.support.certificates import make_certificate
from tests.support.ec2_responses import snapshot_item, snapshots_page
from tests.support.ec2_server import programmed_ec2_server
from tests.support.proxies import Tinyproxy
from tests.support.responders import always
from tests.support.servers import WORKER, free_port, gunicorn

HOST_VARIABLES = ("AWS_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture
def ca_key_and_certificate(tmp_path):
    return make_certificate(tmp_path)


@pytest.fixture
def private_ec2(ca_key_and_certificate):
    _, key, signed = ca_key_and_certificate
    with programmed_ec2_server(ssl_context=(str(signed), str(key))) as ec2:
        ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
        yield ec2


@pytest.fixture
def proxy(tmp_path):
    proxy = Tinyproxy(tmp_path)
    with proxy.running():
        yield proxy


def show_snapshot(tmp_path, endpoint, **environment):
    env = {name: value for name, value in os.environ.items() if name not in HOST_VARIABLES}
    with gunicorn(tmp_path, endpoint, *WORKER, env=env | environment) as server:
        response, body = server.get(SNAPSHOT, {"Authorization": AUTHORIZATION})
    return response.status, etree.fromstring(body)


def test_certificate_signed_by_the_ca_bundle_is_trusted(
    tmp_path, private_ec2, ca_key_and_certificate
):
    bundle = str(ca_key_and_certificate[0])
    status, snapshot = show_snapshot(tmp_path, private_ec2.url, AWS_CA_BUNDLE=bundle)
    assert (status, snapshot.get("id")) == (200, "snap-12345678")


def test_certificate_of_an_unknown_authority_is_not_trusted(tmp_path, private_ec2):
    status, error = show_snapshot(tmp_path, private_ec2.url)
    assert status == 502
    assert "has a TLS certificate that cannot be verified" in error.findtext("message")
    assert private_ec2.requests == []


def test_https_proxy_is_used(tmp_path, private_ec2, ca_key_and_certificate, proxy):
    bundle = str(ca_key_and_certificate[0])
    status, _ = show_snapshot(
        tmp_path, private_ec2.url, AWS_CA_BUNDLE=bundle, HTTPS_PROXY=proxy.url
    )
    assert status == 200
    assert f"CONNECT {private_ec2.url.removeprefix('https://')}" in proxy.log.read_text()


def test_no_proxy_bypasses_the_proxy(tmp_path, private_ec2, ca_key_and_certificate, proxy):
    bundle = str(ca_key_and_certificate[0])
    status, _ = show_snapshot(
        tmp_path, private_ec2.url, AWS_CA_BUNDLE=bundle, HTTPS_PROXY=proxy.url, NO_PROXY="127.0.0.1"
    )
    assert status == 200
    assert "CONNECT" not in proxy.log.read_text()


def test_unreachable_proxy_is_502(tmp_path, private_ec2):
    gone = f"http://127.0.0.1:{free_port()}"
    status, error = show_snapshot(tmp_path, private_ec2.url, HTTPS_PROXY=gone)
    assert status == 502
    assert "proxy" in error.findtext("message")
