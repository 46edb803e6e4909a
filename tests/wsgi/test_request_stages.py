"""The order in which a request is read: its format, its head, its caller, its form."""

import pytest
from webob import Request

from tests.support.accounts import password_of, role_profile, write_account_files
from tests.support.addresses import SNAPSHOTS
from tests.support.application import new_application
from tests.support.callers import basic_authorization
from tests.support.documents import read_xml
from tests.support.ec2_responses import created_response, snapshot_item
from tests.support.package import MAX_BODY_BYTES
from tests.support.responders import always


class Body:
    """A body that notes whether it is read."""

    def __init__(self, content):
        self.content = content
        self.was_read = False

    def read(self, size=-1):
        self.was_read = True
        content, self.content = self.content, b""
        return content


@pytest.fixture
def app(tmp_path, sts, programmed_ec2):
    files = write_account_files(tmp_path, {"reader": role_profile("reader", sts.url)})
    return new_application(ec2_endpoint_url=programmed_ec2.url, **files.options)


def post(app, address, caller, content=b"volume_id=vol-12345678"):
    body = Body(content)
    request = Request.blank(
        address,
        method="POST",
        environ={"wsgi.input": body, "CONTENT_LENGTH": str(len(content))},
        headers={
            "Authorization": basic_authorization(":".join(caller)),
            "Content-Type": "application/x-www-form-urlencoded",
        },
    )
    return request.get_response(app), body


@pytest.mark.parametrize(
    ("address", "caller", "status"),
    [
        (SNAPSHOTS, ("reader", "wrong"), 401),
        (SNAPSHOTS, ("nobody", password_of("nobody")), 401),
        (f"{SNAPSHOTS}/snap-12345678", ("reader", "wrong"), 401),
        ("/api/storage_volumes/vol-12345678/attach", ("reader", "wrong"), 401),
        ("/api/nothing", ("reader", password_of("reader")), 404),
        (f"/api;driver=mock{SNAPSHOTS[4:]}", ("reader", password_of("reader")), 400),
        (f"{SNAPSHOTS}?format=pdf", ("reader", password_of("reader")), 406),
    ],
)
def test_body_of_a_request_that_is_refused_is_not_read(app, address, caller, status):
    response, body = post(app, address, caller)
    assert response.status_code == status
    assert not body.was_read


def test_body_of_a_known_caller_is_read(app, programmed_ec2):
    programmed_ec2.respond = always(created_response(snapshot_item("snap-12345678")))
    response, body = post(app, SNAPSHOTS, ("reader", password_of("reader")))
    assert response.status_code == 201
    assert body.was_read


class LongBody:
    """A body of 10 MB that counts what was read of it."""

    def __init__(self):
        self.bytes_read = 0

    def read(self, size=-1):
        left = 10_000_000 - self.bytes_read
        size = left if size < 0 else min(size, left)
        self.bytes_read += size
        return b"x" * size


@pytest.mark.parametrize(
    "length", [{"CONTENT_LENGTH": "10000000"}, {"wsgi.input_terminated": True}]
)
def test_no_more_of_a_body_is_read_than_a_form_may_have(app, length):
    body = LongBody()
    authorization = basic_authorization(f"reader:{password_of('reader')}")
    response = Request.blank(
        SNAPSHOTS,
        method="POST",
        environ={"wsgi.input": body, **length},
        headers={"Authorization": authorization},
    ).get_response(app)
    assert response.status_code == 413
    assert body.bytes_read <= MAX_BODY_BYTES + 1


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/api;provider=eu-west-1/nothing", 404),
        ("/api;provider=eu-west-1/storage_snapshots", 401),
        ("/api;provider=eu-west-1;driver=mock/realms", 400),
        ("/api/realms?api[provider]=eu-west-1&api[driver]=mock", 400),
    ],
)
def test_error_has_the_format_and_the_provider_of_its_request(anonymous_client, address, status):
    mark = "&" if "?" in address else "?"
    response = anonymous_client.get(f"{address}{mark}format=json", status=status)
    assert response.json["code"] == status
    assert response.headers["X-Deltacloud-Provider"] == "eu-west-1"


def test_error_about_a_form_names_the_provider_of_the_query(client):
    address = f"{SNAPSHOTS}?api[provider]=eu-west-1"
    response = client.post(address, {"api[provider]": "mars-1"}, status=400)
    assert response.headers["X-Deltacloud-Provider"] == "eu-west-1"
    assert "mars-1" in read_xml(response).findtext("message")
