"""Arbitrary requests and arbitrary responses of EC2 give only documented responses."""

import json as json_module

import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule
from lxml import etree
from webob import Request

from tests.support.addresses import SNAPSHOT, SNAPSHOTS
from tests.support.application import shared_application
from tests.support.callers import AUTHORIZATION
from tests.support.ec2_model import EC2Model
from tests.support.ec2_responses import EC2Response, error_response, snapshot_item, snapshots_page
from tests.support.responders import always

STATUSES = {200, 201, 202, 204, 301, 303, 304, 400, 401, 403, 404, 405, 406, 413, 415, 422, 502}


@pytest.fixture
def fuzzed(programmed_ec2):
    app = shared_application(ec2_endpoint_url=programmed_ec2.url, retry_attempts=1)
    return programmed_ec2, app


def check_documented(response):
    """Check that the status is a documented one, and the document valid in its format."""
    assert response.status_code in STATUSES, response.text
    body = response.body
    content_type = response.headers.get("Content-Type")
    if not body:
        return
    if content_type == "application/xml":
        etree.fromstring(body)
    elif content_type == "application/json":
        json_module.loads(body)
    else:
        assert content_type == "text/html; charset=utf-8"
        assert BeautifulSoup(body.decode(), "html.parser").h1


SEGMENTS = st.one_of(
    st.sampled_from(
        [
            "api",
            "storage_snapshots",
            "storage_volumes",
            "realms",
            "drivers",
            "new",
            "ec2",
            "snap-12345678",
            "vol-12345678",
            "attach",
            "detach",
            "api;provider=eu-west-1",
            "api;driver=ec2;driver=ec2",
            "docs",
            "storage_snapshots;x=y",
            "..",
        ]
    ),
    st.text(max_size=8),
)
LATIN = st.text(st.characters(max_codepoint=255), max_size=20)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "HTTP_ACCEPT",
            "HTTP_HOST",
            "HTTP_AUTHORIZATION",
            "HTTP_ORIGIN",
            "HTTP_IF_NONE_MATCH",
            "HTTP_RANGE",
            "HTTP_X_DELTACLOUD_DRIVER",
            "HTTP_X_DELTACLOUD_PROVIDER",
            "HTTP_X_HTTP_METHOD_OVERRIDE",
            "HTTP_IDEMPOTENCY_KEY",
            "HTTP_SEC_FETCH_SITE",
            "CONTENT_TYPE",
        ]
    ),
    st.one_of(
        LATIN,
        st.sampled_from(
            ["*/*", "text/html", "text/xml", "application/json;q=0.1", "Basic QTpi", "null", "EC2"]
        ),
        st.sampled_from(["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]),
    ),
    max_size=4,
)
QUERIES = st.one_of(
    LATIN,
    st.sampled_from(["format=json", "format=html", "id=snap-12345678", "owner_id=self"]),
    st.sampled_from(["force_auth=1", "_method=delete", "volume_id=vol-12345678", "device=%00"]),
    st.sampled_from(["api[provider]=eu-west-1", "api[driver]=x", "id=%e9"]),
)
BODIES = st.one_of(
    st.binary(max_size=100),
    st.sampled_from(
        [b"volume_id=vol-12345678", b"capacity=3", b"instance_id=i-1a2b3c4d", b"--x--"]
    ),
)
METHODS = st.sampled_from(["GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS", "BREW", "get", ""])


@given(METHODS, st.lists(SEGMENTS, max_size=4), QUERIES, HEADERS, BODIES, st.booleans())
def test_any_request_gets_a_documented_response(
    fuzzed, method, segments, query, headers, body, is_known
):
    ec2, app = fuzzed
    ec2.respond = EC2Model()
    ec2.respond.add_volume(id="vol-12345678")
    request = Request.blank("/", method=method, body=body)
    path = "".join(f"/{segment}" for segment in segments)
    request.environ["PATH_INFO"] = path.encode("utf-8", "surrogateescape").decode("latin-1")
    request.environ["QUERY_STRING"] = query
    if is_known:
        request.headers["Authorization"] = AUTHORIZATION
    request.environ.update(headers)
    check_documented(request.get_response(app))


PAGE = snapshots_page(
    snapshot_item("snap-12345678", description="d", name="n") + snapshot_item("snap-87654321")
).body
ADDRESSES = st.sampled_from(
    [
        SNAPSHOTS,
        SNAPSHOT,
        "/api/storage_volumes",
        "/api/realms",
        f"{SNAPSHOTS}?format=json",
        f"{SNAPSHOTS}?format=html",
    ]
)


@st.composite
def damaged_pages(draw):
    """Draw a page of EC2 with some bytes removed, inserted or replaced."""
    page = bytearray(PAGE)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(page)))
        end = min(start + draw(st.integers(0, 40)), len(page))
        page[start:end] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(page[end:start:-1]))))
    return bytes(page)


@given(
    ADDRESSES,
    st.one_of(st.binary(max_size=200), damaged_pages()),
    st.sampled_from([200, 200, 200, 201, 302, 400, 403, 404, 418, 429, 500, 503, 504]),
)
def test_any_ec2_response_gives_a_documented_response(fuzzed, address, body, status):
    ec2, app = fuzzed
    ec2.respond = always(EC2Response(body, status))
    try:
        check_documented(Request.blank(address, authorization=AUTHORIZATION).get_response(app))
    except ConnectionError:
        assert b"nextToken" in body  # a list whose next page could not be parsed


@given(st.text(max_size=30), st.text(max_size=30), st.integers(300, 599))
def test_any_ec2_error_gives_a_documented_response(fuzzed, code, message, status):
    ec2, app = fuzzed
    try:
        response = error_response("Code", status, message)
    except UnicodeEncodeError:
        return
    ec2.respond = always(EC2Response(response.body.replace(b"Code", code.encode(errors="ignore"))))
    request = Request.blank("/api/realms", authorization=AUTHORIZATION)
    check_documented(request.get_response(app))


class Snapshots(RuleBasedStateMachine):
    """Random sequences of create, show, list and delete, compared with the expected state."""

    ids = Bundle("ids")
    server = None

    def __init__(self):
        super().__init__()
        self.ec2 = Snapshots.server[0]
        self.app = Snapshots.server[1]
        self.ec2.respond = EC2Model()
        self.expected = {}

    def send(self, method, address, status, **parameters):
        request = Request.blank(
            f"/api/storage_snapshots{address}",
            POST=parameters or None,
            method=method,
            authorization=AUTHORIZATION,
            accept="application/json",
        )
        response = request.get_response(self.app)
        assert response.status_code == status
        return response.json if response.body else None

    @rule(target=ids, name=st.sampled_from(["", "a", "<&>"]))
    def create(self, name):
        made = self.send("POST", "", 201, volume_id="vol-12345678", name=name.replace("<&>", "b"))
        snapshot = made["storage_snapshot"]
        self.expected[snapshot["id"]] = snapshot
        return snapshot["id"]

    @rule(id=ids)
    def show(self, id):
        assert self.send("GET", f"/{id}", 200)["storage_snapshot"] == self.expected[id]

    @rule(id=ids)
    def list_one(self, id):
        assert self.send("GET", f"?id={id}", 200)["storage_snapshots"] == [self.expected[id]]

    @rule(id=consumes(ids))
    def delete(self, id):
        self.send("DELETE", f"/{id}", 204)
        self.send("GET", f"/{id}", 404)
        self.send("DELETE", f"/{id}", 404)
        assert self.send("GET", f"?id={id}", 200)["storage_snapshots"] == []
        del self.expected[id]


def test_random_sequences_of_operations_are_consistent(fuzzed):
    Snapshots.server = fuzzed
    Snapshots.TestCase.settings = settings(max_examples=5, stateful_step_count=10)
    Snapshots.TestCase("runTest").runTest()
