"""HTTP Basic to AWS credentials: what is refused, and what reaches EC2."""

import base64

import pytest

from dcproxy.credentials import Credentials
from tests.conftest import client_of

SNAPSHOTS = "/api/storage_snapshots"


def basic(text):
    return "Basic " + base64.b64encode(text.encode()).decode()


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
        basic(""),
        basic(":"),
        basic("AKID"),
        basic("AKID:"),
        basic(":secret"),
        basic("AK ID:secret"),
        basic("AKID\r\nX-Evil: 1:secret"),
        basic("ÄKID:secret"),
        "Bearer abc",
        "Digest username=x",
    ],
)
def test_unusable_credentials_are_401_and_ec2_is_not_asked(
    client_of_programmed, programmed_ec2, xml, authorization
):
    client_of_programmed.authorization = None
    headers = {} if authorization is None else {"Authorization": authorization}
    response = client_of_programmed.get(SNAPSHOTS, headers=headers, status=401)
    challenge = response.headers["WWW-Authenticate"]
    assert challenge == 'Basic realm="ec2-deltacloud@localhost:3001"'
    assert xml(response).findtext("code") == "401"
    assert programmed_ec2.requests == []


@pytest.mark.parametrize("secret", ["a:b:c", "wJalr/XUtn+FEMI=", ":", "p\u00e4ss wort"])
def test_secret_may_hold_anything(client_of_programmed, programmed_ec2, secret):
    client_of_programmed.authorization = None
    headers = {"Authorization": basic(f"AKID:{secret}")}
    client_of_programmed.get(SNAPSHOTS, headers=headers, status=200)
    assert programmed_ec2.requests[0].access_key_id == "AKID"


def test_scheme_is_read_in_any_case(client_of_programmed):
    client_of_programmed.authorization = None
    headers = {"Authorization": basic("AKID:s").replace("Basic", "bASIC")}
    client_of_programmed.get(SNAPSHOTS, headers=headers, status=200)


def test_secret_is_not_in_a_repr():
    assert "hidden" not in repr(Credentials("AKID", "hidden"))


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
def test_what_comes_from_ec2_needs_credentials(settings, method, address):
    client_of(settings, caller=None).request(address, method=method, status=401)
