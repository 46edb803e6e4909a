"""Concurrent callers: each request is signed with the key of its own caller."""

from concurrent.futures import ThreadPoolExecutor

from webob import Request
from webtest import TestApp

from tests.support.addresses import SNAPSHOTS
from tests.support.application import shared_application
from tests.support.callers import basic_authorization, register_caller
from tests.support.ec2_responses import error_response, snapshot_item, snapshots_page

CALLERS = 8
ROUNDS = 2


def echo_access_key(request):
    """Respond with two pages of a snapshot whose name is the key that signed the request."""
    if "SnapshotId.1" in request.parameters:
        return error_response("InvalidSnapshot.NotFound", message=request.access_key_id)
    items = snapshot_item("snap-12345678", name=request.access_key_id)
    return snapshots_page(items, "" if "NextToken" in request.parameters else "more")


def test_concurrent_requests_are_signed_by_their_own_caller(programmed_ec2):
    programmed_ec2.respond = echo_access_key
    app = shared_application(ec2_endpoint_url=programmed_ec2.url)

    def names_of(number):
        client = TestApp(app)
        client.authorization = ("Basic", register_caller(f"KEY{number}", "secret"))
        names = set()
        for _ in range(ROUNDS):
            error = client.get(f"{SNAPSHOTS}/snap-00000000?format=json", status=404)
            names.add(error.json["message"].removeprefix("InvalidSnapshot.NotFound: "))
            snapshots = client.get(f"{SNAPSHOTS}?format=json").json["storage_snapshots"]
            names |= {snapshot["name"] for snapshot in snapshots}
        return names

    with ThreadPoolExecutor(CALLERS) as pool:
        seen = list(pool.map(names_of, range(CALLERS)))
    assert seen == [{f"KEY{number}"} for number in range(CALLERS)]


def test_interleaved_lists_are_signed_by_their_own_caller(programmed_ec2):
    programmed_ec2.respond = echo_access_key
    app = shared_application(ec2_endpoint_url=programmed_ec2.url)

    def start(key):
        request = Request.blank(f"{SNAPSHOTS}?format=json")
        request.headers["Authorization"] = basic_authorization(f"{key}:secret")
        return request.get_response(app).app_iter

    first, second = start("KEY1"), start("KEY2")
    texts = [b"", b""]
    for _ in range(10):
        for number, chunks in enumerate((first, second)):
            texts[number] += next(chunks, b"")
    first.close()
    second.close()
    assert b"KEY2" not in texts[0]
    assert b"KEY1" not in texts[1]
    assert [text.count(b"snap-12345678") > 0 for text in texts] == [True, True]
    keys = [request.access_key_id for request in programmed_ec2.requests]
    assert sorted(keys) == ["KEY1", "KEY1", "KEY2", "KEY2"]
