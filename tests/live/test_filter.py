"""The filter in front of an old server that is a WSGI application."""

import json
import os

import pytest
from lxml import etree

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.divided_requests import FOR_DCPROXY, FOR_OLD_SERVER
from tests.support.ec2_responses import created_response, snapshot_item, snapshots_page
from tests.support.old_server import REASON, STATUS
from tests.support.responders import always
from tests.support.servers import BIN, ROOT, running

PIPELINE = """
[pipeline:main]
pipeline = dcproxy old-server

[filter:dcproxy]
use = egg:dcproxy
ec2_endpoint_url = {ec2}
{options}

[app:old-server]
paste.app_factory = tests.support.old_server:app_factory
"""


def pipeline(folder, ec2, options=""):
    ini = folder / "pipeline.ini"
    ini.write_text(PIPELINE.format(ec2=ec2, options=options))
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return running([BIN / "dcproxy", "-c", ini, "--port", "0"], folder / "log", env=env)


@pytest.fixture(scope="module")
def front(ec2_server, tmp_path_factory):
    with pipeline(tmp_path_factory.mktemp("filter"), ec2_server.url) as server:
        yield server


@pytest.mark.parametrize(("method", "target", "headers"), FOR_DCPROXY)
def test_requests_for_snapshots_of_ec2_are_answered(front, programmed_ec2, method, target, headers):
    programmed_ec2.respond = always(snapshots_page(""))
    response, _ = front.get(target, {"Authorization": AUTHORIZATION} | headers, method=method)
    assert response.headers["X-Deltacloud-Driver"] == "ec2"
    assert response.status != STATUS


@pytest.mark.parametrize(("method", "target", "headers"), FOR_OLD_SERVER)
def test_other_requests_reach_the_old_server_unchanged(front, method, target, headers):
    sent = {"Authorization": AUTHORIZATION, "Host": "cloud.example.org", "X-Any": "thing"}
    sent |= headers
    response, body = front.get(target, sent, method=method, body=b"a=b" * (method == "POST"))
    received = json.loads(body)
    assert (response.status, response.reason) == (STATUS, REASON)
    assert (received["method"], received["target"]) == (method, target)
    assert {(name.lower(), value) for name, value in sent.items()} <= set(
        map(tuple, received["headers"])
    )
    assert received["body"] == "a=b" * (method == "POST")


def test_snapshots_are_listed_and_created_in_ec2(front, programmed_ec2):
    headers = {"Authorization": AUTHORIZATION}
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
    for address in (SNAPSHOTS, SNAPSHOT, "/api;driver=ec2;provider=eu-west-1/storage_snapshots"):
        response, body = front.get(address, headers)
        assert response.status == 200
        assert etree.fromstring(body).xpath("//@id")[0] == "snap-12345678"
    programmed_ec2.respond = always(created_response(snapshot_item("snap-12345678")))
    response, _ = front.get(f"{SNAPSHOTS}?volume_id=vol-12345678", headers, method="POST")
    assert response.status == 201


def test_unsupported_method_on_snapshots_is_405_from_the_filter(front):
    assert front.get(SNAPSHOTS, method="PUT")[0].status == 405


@pytest.mark.parametrize("query", ["", "?volume_id=vol-12345678"])
def test_compressed_body_on_snapshots_is_501(front, programmed_ec2, query):
    form = b"volume_id=vol-12345678&name=nightly"
    head = (
        f"POST {SNAPSHOTS}{query} HTTP/1.1\r\nHost: h\r\nAuthorization: {AUTHORIZATION}\r\n"
        "Transfer-Encoding: gzip, chunked\r\n\r\n"
    ).encode()
    response = front.exchange(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(form), form))
    assert response.startswith(b"HTTP/1.1 501")
    assert programmed_ec2.requests == []


def test_collections_of_the_option_go_to_ec2(ec2_server, tmp_path):
    options = "collections = storage_snapshots, storage_volumes"
    with pipeline(tmp_path, ec2_server.url, options) as front:
        for address in ("/api/storage_volumes", "/api/storage_volumes/vol-12345678", SNAPSHOTS):
            assert front.get(address)[0].status == 401
        for address in ("/api", "/api/realms", "/api;driver=mock/storage_volumes"):
            assert front.get(address)[0].status == STATUS
