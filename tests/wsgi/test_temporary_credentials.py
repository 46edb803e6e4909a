"""Temporary access keys of callers: the session token by header or in the password."""

import pytest

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import basic_authorization, register_caller
from tests.support.documents import read_xml
from tests.support.ec2_responses import error_response
from tests.support.responders import always

ID, SECRET = register_caller("ASIAIOSFODNN7EXAMPLE", "temporary/secret+key")
TOKEN = "FwoGZXIvYXdzEBYaD//token+with/signs=="


@pytest.fixture
def get(programmed_client):
    """Send a request with a text as Basic credentials, and other headers."""
    programmed_client.authorization = None

    def send(text, headers=None, **options):
        headers = {"Authorization": basic_authorization(text), **(headers or {})}
        return programmed_client.get(SNAPSHOTS, headers=headers, **options)

    return send


def signed_with(programmed_ec2):
    return [(request.access_key_id, request.session_token) for request in programmed_ec2.requests]


def test_session_token_of_the_header_is_signed(get, programmed_ec2):
    get(f"{ID}:{SECRET}", {"X-Amz-Security-Token": TOKEN})
    assert signed_with(programmed_ec2) == [(ID, TOKEN)]


def test_session_token_after_the_secret_key_is_signed(get, programmed_ec2):
    get(f"{ID}:{SECRET}:{TOKEN}")
    assert signed_with(programmed_ec2) == [(ID, TOKEN)]


def test_session_token_may_contain_colons(get, programmed_ec2):
    get(f"{ID}:{SECRET}:a:b:")
    assert signed_with(programmed_ec2) == [(ID, "a:b:")]


def test_header_wins_over_the_password(get, programmed_ec2):
    register_caller(ID, f"{SECRET}:x")
    get(f"{ID}:{SECRET}:x", {"X-Amz-Security-Token": TOKEN})
    assert signed_with(programmed_ec2) == [(ID, TOKEN)]


def test_secret_key_of_another_access_key_may_contain_colons(get, programmed_ec2):
    get("AKIAIOSFODNN7EXAMPLE:a:b")
    assert signed_with(programmed_ec2) == [("AKIAIOSFODNN7EXAMPLE", "")]


def test_other_access_keys_may_have_a_session_token_too(get, programmed_ec2):
    get("0fd5a1c9e3:secret", {"X-Amz-Security-Token": TOKEN})
    assert signed_with(programmed_ec2) == [("0fd5a1c9e3", TOKEN)]


@pytest.mark.parametrize("password", [SECRET, f"{SECRET}:", f":{TOKEN}", f"{SECRET}:no token"])
def test_temporary_key_without_a_session_token_is_401_that_says_so(get, programmed_ec2, password):
    response = get(f"{ID}:{password}", status=401)
    message = read_xml(response).findtext("message")
    assert "X-Amz-Security-Token" in message
    assert SECRET not in message
    assert programmed_ec2.requests == []


def test_unreadable_session_token_is_401(get, programmed_ec2):
    response = get(f"{ID}:{SECRET}", {"X-Amz-Security-Token": "a b"}, status=401)
    assert "X-Amz-Security-Token cannot be read" in read_xml(response).findtext("message")
    assert programmed_ec2.requests == []


@pytest.mark.parametrize(
    "ec2_response",
    [
        error_response("RequestExpired", message="Request has expired."),
        error_response("ExpiredToken", message="The session token has expired."),
    ],
)
def test_expired_session_token_is_401_that_says_so(get, programmed_ec2, ec2_response):
    programmed_ec2.respond = always(ec2_response)
    response = get(f"{ID}:{SECRET}:{TOKEN}", status=401)
    assert "session token has expired" in read_xml(response).findtext("message")


def test_request_that_came_too_late_is_no_fault_of_a_session_token(get, programmed_ec2):
    """EC2 has this code for its time alone, unlike RequestExpired."""
    programmed_ec2.respond = always(error_response("InvalidSecurity.RequestHasExpired"))
    response = get(f"{ID}:{SECRET}:{TOKEN}", status=502)
    assert "The clock of this server is wrong." in read_xml(response).findtext("message")


def test_next_caller_has_no_session_token(get, programmed_ec2):
    get(f"{ID}:{SECRET}:{TOKEN}")
    get("AKIDEXAMPLE:secret")
    assert signed_with(programmed_ec2) == [(ID, TOKEN), ("AKIDEXAMPLE", "")]
