"""Accounts: names and passwords that are let in, and the credentials that sign for them."""

import logging

import pytest

from tests.support.accounts import (
    BASE_KEY,
    htpasswd_line,
    password_hash,
    password_of,
    role_of,
    role_profile,
    write_account_files,
)
from tests.support.addresses import SNAPSHOTS
from tests.support.application import client_of, new_application
from tests.support.callers import CALLER
from tests.support.documents import read_xml
from tests.support.ec2_model import EC2Model, lost, not_executed
from tests.support.ec2_responses import EC2Response, error_response
from tests.support.package import Passwords
from tests.support.responders import always
from tests.wsgi.conftest import metrics_of

READER, BACKUP = (("reader", password_of("reader")), ("backup", password_of("backup")))


@pytest.fixture
def files(tmp_path, sts):
    return write_account_files(
        tmp_path,
        {
            "reader": role_profile("reader", sts.url, "source_profile = base\nregion = eu-west-1"),
            "backup": role_profile("backup", sts.url),
        },
    )


@pytest.fixture
def app(files, programmed_ec2):
    return new_application(ec2_endpoint_url=programmed_ec2.url, **files.options)


@pytest.fixture
def get(app):
    """Send a request as a caller."""
    return lambda caller, address=SNAPSHOTS, **options: client_of(app, caller).get(
        address, **options
    )


def signers(programmed_ec2):
    return [(request.access_key_id, request.session_token) for request in programmed_ec2.requests]


def message_of(response):
    return read_xml(response).findtext("message")


def test_request_of_an_account_is_signed_with_its_role(get, programmed_ec2, sts):
    get(READER)
    get(BACKUP)
    assert [key.source for key in sts.handed_out] == [role_of("reader"), role_of("backup")]
    assert signers(programmed_ec2) == [(key.id, key.token) for key in sts.handed_out]


@pytest.mark.parametrize(
    ("caller", "region"), [(READER, "Region: eu-west-1"), (BACKUP, "Region: us-east-1")]
)
def test_pages_name_the_region_of_an_account_where_it_logs_in(get, caller, region):
    assert region in get(caller, headers={"Accept": "text/html"}).html.nav.text
    entry_point = get(caller, "/api", headers={"Accept": "text/html"})
    assert "Choose a region" in entry_point.html.nav.text


def test_credentials_of_a_role_serve_many_requests(get, programmed_ec2, sts):
    for _ in range(3):
        get(READER)
    assert len(sts.requests) == 1
    assert len(set(signers(programmed_ec2))) == 1


def test_session_is_named_after_the_account(get, sts):
    get(READER)
    assert sts.requests[0].parameters["RoleSessionName"] == "reader"


@pytest.mark.parametrize(
    "caller",
    [
        ("reader", "wrong"),
        ("nobody", password_of("nobody")),
        ("Reader", password_of("reader")),
        ("reader", password_of("backup")),
        ("reader", password_hash(password_of("reader"))),
        ("reader", "x" * 73),
        CALLER,
        BASE_KEY,
    ],
)
def test_others_are_401_without_a_call(get, programmed_ec2, sts, caller):
    for address in (
        SNAPSHOTS,
        f"{SNAPSHOTS}?id=x",
        f"{SNAPSHOTS}/x",
        "/api/storage_volumes/x",
        "/api/realms?id=x",
        "/api?force_auth=1",
    ):
        response = get(caller, address, status=401)
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
    assert programmed_ec2.requests == []
    assert sts.requests == []


def test_public_operations_need_no_password(get):
    for address in ("/api", "/api/drivers", "/api/docs"):
        get(None, address)


def test_password_over_72_bytes_is_refused_even_if_its_begin_is_right(files, programmed_ec2, get):
    password = "x" * 72
    files.accounts.write_text(f"reader:{password_hash(password)}\n" + htpasswd_line("backup"))
    app = new_application(ec2_endpoint_url=programmed_ec2.url, **files.options)
    client_of(app, ("reader", password)).get(SNAPSHOTS)
    response = client_of(app, ("reader", f"{password}x")).get(SNAPSHOTS, status=401)
    assert "at most 72 bytes" in message_of(response)


def test_remembered_password_does_not_let_in_another_one(get):
    get(READER)
    get(("reader", "wrong"), status=401)
    get(READER)


def test_message_does_not_tell_whether_there_is_the_account(get):
    for name in ("reader", "nobody"):
        response = get((name, "wrong"), status=401)
        assert message_of(response) == "The name or the password is wrong."


def test_failed_login_is_logged_with_name_address_and_request_id(get, caplog):
    get(
        ("nobody%r", "secret"),
        status=401,
        headers={"X-Request-Id": "request-7"},
        extra_environ={"REMOTE_ADDR": "192.0.2.7"},
    )
    [record] = [record for record in caplog.records if "login failed" in record.getMessage()]
    assert record.levelno == logging.WARNING
    assert record.request_id == "request-7"
    for text in ("'nobody%r'", "'192.0.2.7'", "request-7"):
        assert text in record.getMessage()
    assert "secret" not in caplog.text


@pytest.mark.parametrize(("proxies", "address"), [(1, "192.0.2.1"), (0, "192.0.2.7")])
def test_passwords_take_turns_by_the_address_that_trusted_proxies_tell(
    files, programmed_ec2, monkeypatch, proxies, address
):
    addresses = []
    verify = Passwords.verify

    def noting(self, name, password, address, seconds):
        addresses.append(address)
        verify(self, name, password, address, seconds)

    monkeypatch.setattr(Passwords, "verify", noting)
    app = new_application(
        ec2_endpoint_url=programmed_ec2.url, trusted_proxies=proxies, **files.options
    )
    client_of(app, ("reader", password_of("reader"))).get(
        SNAPSHOTS,
        headers={"X-Forwarded-For": "192.0.2.1"},
        extra_environ={"REMOTE_ADDR": "192.0.2.7"},
    )
    assert addresses == [address]


def test_long_name_is_cut_in_the_log(get, caplog):
    get(("n" * 5000, "secret"), status=401)
    [record] = [record for record in caplog.records if "login failed" in record.getMessage()]
    assert len(record.getMessage()) < 250


def test_failed_login_is_counted(app, get):
    before = metrics_of(client_of(app))[("dcproxy_logins_failed_total",)]
    get(("reader", "wrong"), status=401)
    get(READER)
    assert metrics_of(client_of(app))[("dcproxy_logins_failed_total",)] == before + 1


def test_log_line_names_account_temporary_key_and_region(get, sts, caplog):
    caplog.set_level(logging.INFO)
    get(READER)
    [record] = [record for record in caplog.records if record.name == "dcproxy.requests"]
    assert record.account == "reader"
    assert record.provider == "eu-west-1"
    assert record.access_key_id == sts.handed_out[0].id[-4:]


def test_region_of_the_profile_is_the_default_provider(get, programmed_ec2):
    programmed_ec2.respond = always(EC2Response(b"nonsense"))  # the message names the region
    for address, caller, region in (
        ("/api/realms", READER, "eu-west-1"),
        ("/api/realms", BACKUP, "us-east-1"),
        ("/api;provider=us-west-2/realms", READER, "us-west-2"),
    ):
        response = get(caller, address, status=502)
        assert f"EC2 in {region} sent" in message_of(response)
        assert response.headers.get("X-Deltacloud-Provider", region) == region


def test_own_keys_are_let_in_where_that_is_on(files, programmed_ec2, sts):
    app = new_application(ec2_endpoint_url=programmed_ec2.url, own_keys=True, **files.options)
    client_of(app, CALLER).get(SNAPSHOTS)
    assert signers(programmed_ec2) == [(CALLER[0], "")]
    assert sts.requests == []


@pytest.mark.parametrize("address", [SNAPSHOTS, "/api?force_auth=1"])
def test_name_that_neither_the_file_nor_ec2_knows_is_a_failed_login(
    files, programmed_ec2, caplog, address
):
    app = new_application(ec2_endpoint_url=programmed_ec2.url, own_keys=True, **files.options)
    client = client_of(app, CALLER)
    before = metrics_of(client)[("dcproxy_logins_failed_total",)]
    programmed_ec2.respond = always(error_response("UnauthorizedOperation", 403))
    client.get(SNAPSHOTS, status=502)
    assert metrics_of(client)[("dcproxy_logins_failed_total",)] == before
    programmed_ec2.respond = always(error_response("AuthFailure", 401))
    client.get(address, status=401)
    assert metrics_of(client)[("dcproxy_logins_failed_total",)] == before + 1
    [record] = [record for record in caplog.records if "login failed" in record.getMessage()]
    assert repr(CALLER[0]) in record.getMessage()
    assert CALLER[1] not in caplog.text


def test_refused_key_is_no_failed_login_without_accounts(programmed_ec2):
    client = client_of(new_application(ec2_endpoint_url=programmed_ec2.url))
    before = metrics_of(client)[("dcproxy_logins_failed_total",)]
    programmed_ec2.respond = always(error_response("AuthFailure", 401))
    client.get(SNAPSHOTS, status=401)
    assert metrics_of(client)[("dcproxy_logins_failed_total",)] == before


def test_name_in_the_file_is_always_the_account(files, programmed_ec2, sts):
    files.accounts.write_text(htpasswd_line("reader") + htpasswd_line("ASIAREADER"))
    profile = role_profile("ASIAREADER", sts.url)
    files.aws_config.write_text(files.aws_config.read_text() + profile)
    app = new_application(ec2_endpoint_url=programmed_ec2.url, own_keys=True, **files.options)
    client_of(app, ("ASIAREADER", password_of("ASIAREADER"))).get(SNAPSHOTS)
    client_of(app, ("ASIAREADER", "secret:token")).get(SNAPSHOTS, status=401)
    assert signers(programmed_ec2) == [(key.id, key.token) for key in sts.handed_out]


def test_session_token_of_a_client_is_not_sent_for_an_account(get, programmed_ec2, sts):
    get(READER, headers={"X-Amz-Security-Token": "token-of-the-client"})
    assert signers(programmed_ec2) == [(key.id, key.token) for key in sts.handed_out]


@pytest.mark.parametrize(
    "refusal",
    [
        ("AuthFailure", 401),
        ("InvalidClientTokenId", 403),
        ("RequestExpired", 400),
        ("ExpiredToken", 400),
    ],
)
def test_refusal_of_the_accounts_credentials_by_ec2_is_502(get, programmed_ec2, refusal):
    programmed_ec2.respond = always(error_response(*refusal))
    for address in (SNAPSHOTS, "/api?force_auth=1"):
        response = get(READER, address, status=502)
        assert "EC2 does not accept the credentials of the account reader" in message_of(response)


def test_refused_credentials_of_an_account_are_a_failure_in_the_log(get, programmed_ec2, caplog):
    programmed_ec2.respond = always(error_response("InvalidClientTokenId", 403))
    response = get(READER, status=502)
    record = caplog.records[-1]
    assert (record.levelno, record.cause) == (logging.ERROR, "credentials: InvalidClientTokenId")
    assert "Retry-After" not in response.headers


def test_lost_response_before_a_refusal_of_the_accounts_credentials_is_an_unknown_outcome(
    app, programmed_ec2, sleeps
):
    programmed_ec2.respond = EC2Model()
    programmed_ec2.respond.faults["CreateVolume"] = [
        lost(),
        not_executed(error_response("ExpiredToken", 400)),
    ]
    client = client_of(app, READER)
    response = client.post("/api/storage_volumes", {"realm_id": "us-east-1b"}, status=502)
    assert "It is not known whether EC2 has made a volume" in message_of(response)


def test_missing_permission_of_a_role_is_told_as_that_of_a_caller(get, programmed_ec2):
    programmed_ec2.respond = always(error_response("UnauthorizedOperation", 403))
    assert "UnauthorizedOperation" in message_of(get(READER, status=502))
    get(READER, "/api?force_auth=1", status=200)


def test_idempotency_key_belongs_to_the_account_not_to_its_temporary_key(
    files, programmed_ec2, sts
):
    programmed_ec2.respond = always(error_response("UnauthorizedOperation", 403))
    for _ in range(2):  # applications, as two workers
        app = new_application(ec2_endpoint_url=programmed_ec2.url, **files.options)
        client_of(app, READER).post(
            f"{SNAPSHOTS}?volume_id=vol-12345678", headers={"Idempotency-Key": "a"}, status=502
        )
    assert len(sts.handed_out) == 2
    searched = {request.parameters.get("Filter.1.Value.1") for request in programmed_ec2.requests}
    assert len(searched - {None}) == 1
