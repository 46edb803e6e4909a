"""HTTP Basic credentials: which are rejected, and what reaches EC2."""

import base64

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import basic_authorization
from tests.support.documents import read_xml


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic QUtJRA",
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        basic_authorization(""),
        basic_authorization(":"),
        basic_authorization("AKID"),
        basic_authorization("AKID:"),
        basic_authorization(":secret"),
        basic_authorization("AK ID:secret"),
        basic_authorization("AKID\r\nX-Evil: 1:secret"),
        basic_authorization("ÄKID:secret"),
        "Bearer abc",
        "Digest username=x",
    ],
)
def test_unusable_credentials_are_401_without_an_ec2_call(
    programmed_client, programmed_ec2, authorization
):
    programmed_client.authorization = None
    headers = {} if authorization is None else {"Authorization": authorization}
    response = programmed_client.get(SNAPSHOTS, headers=headers, status=401)
    challenge = response.headers["WWW-Authenticate"]
    assert challenge == 'Basic realm="ec2-deltacloud@localhost:3001"'
    assert read_xml(response).findtext("code") == "401"
    assert programmed_ec2.requests == []


@pytest.mark.parametrize("secret", ["a:b:c", "wJalr/XUtn+FEMI=", ":", "p\u00e4ss wort"])
def test_secret_may_contain_any_character(programmed_client, programmed_ec2, secret):
    programmed_client.authorization = None
    headers = {"Authorization": basic_authorization(f"AKID:{secret}")}
    programmed_client.get(SNAPSHOTS, headers=headers, status=200)
    assert programmed_ec2.requests[0].access_key_id == "AKID"


def test_authorization_scheme_is_case_insensitive(programmed_client):
    programmed_client.authorization = None
    headers = {"Authorization": basic_authorization("AKID:s").replace("Basic", "bASIC")}
    programmed_client.get(SNAPSHOTS, headers=headers, status=200)


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("GET", SNAPSHOTS),
        ("GET", f"{SNAPSHOTS}?id=x"),
        ("GET", f"{SNAPSHOTS}?owner_id=nobody"),
        ("GET", f"{SNAPSHOTS}/snap-12345678"),
        ("GET", f"{SNAPSHOTS}/x"),
        ("POST", SNAPSHOTS),
        ("DELETE", f"{SNAPSHOTS}/snap-12345678"),
        ("POST", f"{SNAPSHOTS}/x"),
        ("GET", "/api/storage_volumes?id=x"),
        ("GET", "/api/storage_volumes/x"),
        ("GET", "/api/realms?id=x"),
        ("GET", "/api/realms/x"),
    ],
)
def test_ec2_operations_need_credentials(anonymous_client, method, address):
    anonymous_client.request(address, method=method, status=401)


def test_base64_with_line_feeds_or_without_padding_is_accepted(programmed_client, programmed_ec2):
    programmed_client.authorization = None
    encoded = basic_authorization(f"AKID:{'s' * 60}").removeprefix("Basic ")
    assert encoded.endswith("=")
    for text in (encoded.rstrip("="), f"{encoded[:60]} {encoded[60:]}"):
        programmed_client.get(SNAPSHOTS, headers={"Authorization": f"Basic {text}"}, status=200)
    # A server of HTTP accepts no line feed in a header; one that calls WSGI itself may pass it on.
    environ = {"HTTP_AUTHORIZATION": f"Basic {encoded[:60]}\n{encoded[60:]}\n"}
    programmed_client.get(SNAPSHOTS, extra_environ=environ, status=200)
    assert [request.access_key_id for request in programmed_ec2.requests] == ["AKID"] * 3
