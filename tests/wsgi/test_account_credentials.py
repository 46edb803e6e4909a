"""Where the credentials of an account come from, and what happens when they do not come."""

import json
import resource
import shlex
import socket
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path

import pytest

from tests.support.accounts import BASE_KEY, password_of, role_of, role_profile, write_account_files
from tests.support.addresses import SNAPSHOTS
from tests.support.application import client_of, new_application
from tests.support.callers import register_caller
from tests.support.documents import read_xml
from tests.support.endpoints import refusing_endpoint
from tests.support.servers import wait_until
from tests.support.sts_server import CONTAINER_AUTHORIZATION, CONTAINER_PATH, WEB_IDENTITY_TOKEN
from tests.wsgi.conftest import metrics_of

HOST_KEY = register_caller("AKIDOFTHEHOST", "hostsecret")


@pytest.fixture(autouse=True)
def host(monkeypatch, tmp_path, sts):
    """Let the host have every identity that botocore would find."""
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    keys = f"aws_access_key_id = {HOST_KEY[0]}\naws_secret_access_key = {HOST_KEY[1]}\n"
    sections = "".join(f"[{name}]\n{keys}" for name in ("default", "profile reader", "reader"))
    (home / ".aws/config").write_text(sections)
    (home / ".aws/credentials").write_text(sections)
    for name, value in {
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": HOST_KEY[0],
        "AWS_SECRET_ACCESS_KEY": HOST_KEY[1],
        "AWS_PROFILE": "default",
        "AWS_DEFAULT_REGION": "ap-south-1",
        "AWS_ROLE_ARN": role_of("host"),
        "AWS_ROLE_SESSION_NAME": "host",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": sts.url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": sts.url + CONTAINER_PATH,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": CONTAINER_AUTHORIZATION,
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def account(tmp_path, programmed_ec2):
    """Make a client of an account with a profile."""

    def make(profile, name="reader", **options):
        files = write_account_files(tmp_path, {name: profile})
        url = programmed_ec2.url
        app = new_application(**{"ec2_endpoint_url": url, **files.options, **options})
        return client_of(app, (name, password_of(name)))

    return make


def signers(programmed_ec2):
    return [(request.access_key_id, request.session_token) for request in programmed_ec2.requests]


def message_of(response):
    return read_xml(response).findtext("message")


def assert_role_signs(programmed_ec2, sts, source):
    """Check that the role signs for EC2, and that ``source`` has signed AssumeRole alone."""
    role = sts.handed_out[-1]
    assert role.source == role_of("reader")
    assert signers(programmed_ec2) == [(role.id, role.token)]
    [request] = sts.requests
    assert request.access_key_id == source


# Sources


def test_source_profile_assumes_the_role(account, programmed_ec2, sts):
    account(role_profile("reader", sts.url)).get(SNAPSHOTS)
    assert_role_signs(programmed_ec2, sts, BASE_KEY[0])


@pytest.mark.parametrize(
    ("source", "signer"),
    [("Environment", None), ("Ec2InstanceMetadata", "instance"), ("EcsContainer", "container")],
)
def test_credential_source_assumes_the_role(account, programmed_ec2, sts, source, signer):
    account(role_profile("reader", sts.url, f"credential_source = {source}")).get(SNAPSHOTS)
    if signer is None:
        assert_role_signs(programmed_ec2, sts, HOST_KEY[0])
    else:
        first, _ = sts.handed_out
        assert first.source == signer
        assert_role_signs(programmed_ec2, sts, first.id)


def test_roles_may_be_chained(account, programmed_ec2, sts):
    hub = f"[profile hub]\nrole_arn = {role_of('hub')}\nsource_profile = base\n"
    profile = role_profile("reader", sts.url, "source_profile = hub")
    client = account(profile + hub)
    client.get(SNAPSHOTS)
    assert [key.source for key in sts.handed_out] == [role_of("hub"), role_of("reader")]
    assert [request.access_key_id for request in sts.requests] == [
        BASE_KEY[0],
        sts.handed_out[0].id,
    ]
    assert [request.parameters["RoleSessionName"] for request in sts.requests] == ["reader"] * 2
    assert signers(programmed_ec2) == [(sts.handed_out[1].id, sts.handed_out[1].token)]


def test_web_identity_assumes_the_role_without_another_identity(
    account, programmed_ec2, sts, tmp_path
):
    token = tmp_path / "token"
    token.write_text(WEB_IDENTITY_TOKEN)
    more = f"web_identity_token_file = {token}"
    account(role_profile("reader", sts.url, more)).get(SNAPSHOTS)
    [request] = sts.requests
    assert request.action == "AssumeRoleWithWebIdentity"
    assert request.parameters["RoleArn"] == role_of("reader")
    assert request.parameters["RoleSessionName"] == "reader"
    [role] = sts.handed_out
    assert signers(programmed_ec2) == [(role.id, role.token)]


def process_profile(tmp_path, text):
    """Write a profile whose ``credential_process`` is a Python program."""
    script = tmp_path / "process.py"
    script.write_text(text)
    command = shlex.join([sys.executable, str(script)])
    return f"[profile reader]\ncredential_process = {command}\n"


def test_credential_process_returns_credentials(account, programmed_ec2, sts, tmp_path):
    key = register_caller("ASIAOFTHEPROCESS", "secret")
    result = {
        "Version": 1,
        "AccessKeyId": key[0],
        "SecretAccessKey": key[1],
        "SessionToken": "token-of-the-process",
        "Expiration": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }
    profile = process_profile(tmp_path, f"print({json.dumps(result)!r})")
    client = account(profile)
    client.get(SNAPSHOTS)
    client.get(SNAPSHOTS)
    assert signers(programmed_ec2) == [(key[0], "token-of-the-process")] * 2
    assert sts.requests == []


def test_plain_keys_sign_themselves(account, programmed_ec2, sts):
    keys = f"aws_access_key_id = {BASE_KEY[0]}\naws_secret_access_key = {BASE_KEY[1]}\n"
    account(f"[profile reader]\n{keys}").get(SNAPSHOTS)
    assert signers(programmed_ec2) == [(BASE_KEY[0], "")]
    assert sts.requests == []


def test_parameters_of_the_profile_reach_sts(account, sts):
    more = """source_profile = base
external_id = agreed
duration_seconds = 7200
role_session_name = other-name"""
    account(role_profile("reader", sts.url, more)).get(SNAPSHOTS)
    assert sts.requests[0].parameters | {
        "RoleArn": role_of("reader"),
        "ExternalId": "agreed",
        "DurationSeconds": "7200",
        "RoleSessionName": "other-name",
    } == dict(sts.requests[0].parameters)


def test_endpoint_of_sts_may_be_in_a_section_of_services(account, sts):
    services = f"[services cloud]\nsts =\n  endpoint_url = {sts.url}\n"
    role = f"[profile reader]\nrole_arn = {role_of('reader')}\nsource_profile = base\n"
    account(f"{role}services = cloud\n{services}").get(SNAPSHOTS)
    assert len(sts.requests) == 1


def test_login_of_identity_center_is_used_in_its_own_region(account, monkeypatch, tmp_path):
    url = "https://corp.awsapps.com/start"
    expires = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    login = {"accessToken": "token", "expiresAt": expires, "startUrl": url, "region": "eu-west-3"}
    cache = tmp_path / "sso"
    cache.mkdir()
    (cache / f"{sha1(url.encode()).hexdigest()}.json").write_text(json.dumps(login))
    monkeypatch.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", str(cache))
    profile = f"""[profile reader]
region = us-west-2
sso_account_id = 123456789012
sso_role_name = reader
sso_region = eu-west-3
sso_start_url = {url}
"""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse():
            with suppress(OSError):  # the end of the test
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        asked.append(connection.recv(1000).split()[1])

        threading.Thread(target=refuse, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        account(profile, retry_attempts=1).get(SNAPSHOTS, status=502)
    assert asked == [b"portal.sso.eu-west-3.amazonaws.com:443"]


# Never another identity


@pytest.mark.parametrize(
    "profile",
    [
        "[profile reader]\ncredential_process = /nowhere/helper\n",
        "[profile reader]\ncredential_process = false\n",
        f"[profile reader]\nrole_arn = {role_of('reader')}\nweb_identity_token_file = /nowhere\n",
        "[profile reader]\nsso_session = corp\nsso_account_id = 123456789012\n"
        "sso_role_name = reader\n[sso-session corp]\nsso_region = us-east-1\n"
        "sso_start_url = https://corp.awsapps.com/start\n",
    ],
)
def test_account_without_credentials_is_502_and_signed_by_nobody(
    account, programmed_ec2, sts, profile
):
    client = account(profile)
    for address in (SNAPSHOTS, "/api?force_auth=1"):
        response = client.get(address, status=502)
        assert "There are no credentials for the account reader: " in message_of(response)
        assert response.headers["Retry-After"]
    assert programmed_ec2.requests == []
    assert sts.requests == []


def test_missing_source_in_the_environment_is_502(account, programmed_ec2, sts, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    profile = role_profile("reader", sts.url, "credential_source = Environment")
    message = message_of(account(profile).get(SNAPSHOTS, status=502))
    assert "Environment has returned none" in message
    assert programmed_ec2.requests == []
    assert sts.requests == []


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("Ec2InstanceMetadata", "Unable to retrieve token for use in IMDSv2 call"),
        ("EcsContainer", "container-role has returned none"),
    ],
)
def test_source_that_cannot_be_reached_is_502(
    account, programmed_ec2, sts, monkeypatch, source, cause
):
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    with refusing_endpoint() as url:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        profile = role_profile("reader", sts.url, f"credential_source = {source}")
        message = message_of(account(profile).get(SNAPSHOTS, status=502))
    assert cause in message
    assert programmed_ec2.requests == []
    assert sts.requests == []


def test_denied_role_is_502_with_the_cause_and_the_first_line_of_the_message(
    account, programmed_ec2, sts
):
    sts.refusal = ("AccessDenied", "May not assume.\n\nx-amz-security-token:secret-token")
    response = account(role_profile("reader", sts.url)).get(SNAPSHOTS, status=502)
    message = message_of(response)
    assert "the account reader: AssumeRole failed with AccessDenied: May not assume." in message
    assert "secret-token" not in response.text
    assert programmed_ec2.requests == []


def test_output_of_a_failed_process_is_neither_sent_nor_logged(account, tmp_path, caplog):
    caplog.set_level("DEBUG")
    profile = process_profile(tmp_path, "import sys; print('out-secret'); sys.exit('error-secret')")
    response = account(profile).get(SNAPSHOTS, status=502)
    assert "custom-process has returned none" in message_of(response)
    for secret in ("out-secret", "error-secret"):
        assert secret not in response.text
        assert secret not in caplog.text


def test_failed_account_does_not_disturb_another_one(tmp_path, programmed_ec2, sts):
    files = write_account_files(
        tmp_path,
        {
            "broken": "[profile broken]\ncredential_process = false\n",
            "reader": role_profile("reader", sts.url),
        },
    )
    app = new_application(ec2_endpoint_url=programmed_ec2.url, **files.options)
    client_of(app, ("broken", password_of("broken"))).get(SNAPSHOTS, status=502)
    client_of(app, ("reader", password_of("reader"))).get(SNAPSHOTS)
    assert_role_signs(programmed_ec2, sts, BASE_KEY[0])


@pytest.mark.parametrize(
    "code",
    [
        ("SignatureDoesNotMatch", "Signature expired: 20261129T003000Z is now earlier"),
        ("SignatureDoesNotMatch", "Signature not yet current: 20261129T003000Z"),
        ("RequestExpired", "Request has expired."),
    ],
)
def test_refusal_of_sts_because_of_the_clock_says_so(account, sts, code):
    sts.refusal = code
    message = message_of(account(role_profile("reader", sts.url)).get(SNAPSHOTS, status=502))
    assert "The clock of this server is wrong." in message


def test_date_of_sts_tells_that_the_clock_is_wrong(account, sts, caplog):
    sts.refusal = ("SignatureDoesNotMatch", "The request signature does not match.")
    sts.headers = [("Date", "Sun, 01 Nov 2026 08:00:00 GMT")]
    message = message_of(account(role_profile("reader", sts.url)).get(SNAPSHOTS, status=502))
    assert "The clock of this server is wrong." in message
    [record] = [record for record in caplog.records if record.name == "dcproxy.requests"]
    assert record.cause.startswith("credentials: AssumeRole failed with SignatureDoesNotMatch")


def test_wrong_secret_of_the_source_does_not_blame_the_clock(account, sts):
    sts.refusal = ("SignatureDoesNotMatch", "The request signature does not match.")
    message = message_of(account(role_profile("reader", sts.url)).get(SNAPSHOTS, status=502))
    assert "clock" not in message


def test_keys_are_those_that_were_read_at_the_start(account, programmed_ec2, tmp_path):
    keys = f"aws_access_key_id = {BASE_KEY[0]}\naws_secret_access_key = {BASE_KEY[1]}\n"
    client = account(f"[profile reader]\n{keys}")
    (tmp_path / "aws-config").write_text("[profile")
    client.get(SNAPSHOTS)
    assert signers(programmed_ec2) == [(BASE_KEY[0], "")]


def test_attempts_to_obtain_credentials_are_counted(account, sts):
    client = account(role_profile("reader", sts.url))

    def counted():
        metrics = metrics_of(client)
        return [metrics["dcproxy_account_credentials_total", result] for result in ("ok", "failed")]

    ok, failed = counted()
    sts.refusal = ("AccessDenied", "No.")
    client.get(SNAPSHOTS, status=502)
    assert counted() == [ok, failed + 1]


# Refreshing


class Clock:
    """The time of botocore's credentials, of STS and of the application."""

    def __init__(self):
        self.passed = 0.0

    def now(self):
        return datetime.now(UTC) + timedelta(seconds=self.passed)


@pytest.fixture
def clock(monkeypatch, sts, sleeps):
    clock = Clock()
    sts.now = clock.now
    monkeypatch.setattr("botocore.credentials._local_now", clock.now)

    def go_on(seconds):
        clock.passed += seconds
        sleeps.append(seconds)  # the application's clock

    clock.go_on = go_on
    return clock


@pytest.fixture
def reader(account, sts):
    return account(role_profile("reader", sts.url))


def test_credentials_are_refreshed_before_they_expire_and_nobody_waits(
    reader, programmed_ec2, sts, clock
):
    reader.get(SNAPSHOTS)
    clock.go_on(3600 - 16 * 60)
    reader.get(SNAPSHOTS)
    assert len(sts.handed_out) == 1
    clock.go_on(120)
    go_on = threading.Event()
    sts.delay = lambda: go_on.wait(30)
    reader.get(SNAPSHOTS)  # STS has not responded
    go_on.set()
    wait_until(lambda: len(sts.handed_out) == 2, "the new credentials")
    wait_until(
        lambda: reader.get(SNAPSHOTS) and signers(programmed_ec2)[-1][0] == sts.handed_out[1].id,
        "their use",
    )
    first = (sts.handed_out[0].id, sts.handed_out[0].token)
    assert signers(programmed_ec2)[:3] == [first] * 3


# Attempts that hang


def test_call_of_sts_that_hangs_is_replaced(account, programmed_ec2, sts, clock):
    hanging = threading.Event()
    sts.delay = lambda: hanging.wait(60)
    client = account(role_profile("reader", sts.url), deadline=3.0)
    assert "it takes too long" in message_of(client.get(SNAPSHOTS, status=502))
    sts.delay = lambda: None
    clock.go_on(1.5)
    client.get(SNAPSHOTS)
    assert len(sts.handed_out) == 1
    hanging.set()
    wait_until(lambda: len(sts.handed_out) == 2, "the end of the first attempt")


def test_refresh_that_hangs_is_replaced_before_the_credentials_expire(
    reader, programmed_ec2, sts, clock
):
    reader.get(SNAPSHOTS)
    begun, hanging = threading.Event(), threading.Event()
    sts.delay = lambda: begun.set() or hanging.wait(60)
    clock.go_on(3600 - 600)
    reader.get(SNAPSHOTS)
    assert begun.wait(30)
    sts.delay = lambda: None
    clock.go_on(60)
    reader.get(SNAPSHOTS)
    wait_until(lambda: len(sts.handed_out) == 2, "the second attempt")
    hanging.set()


HANGING = """
import os, subprocess, sys, time
with open(sys.argv[0] + ".pids", "a") as file:
    child = subprocess.Popen(["sleep", "600"])
    print(os.getpid(), child.pid, file=file)
time.sleep(600)
"""


@pytest.mark.live
@pytest.mark.parametrize("is_source", [False, True])
def test_process_that_hangs_is_killed_with_its_children_and_replaced(
    account, programmed_ec2, sts, clock, tmp_path, is_source
):
    profile = process_profile(tmp_path, HANGING)
    if is_source:
        source = profile.replace("[profile reader]", "[profile source]")
        profile = role_profile("reader", sts.url, "source_profile = source") + source
    client = account(profile, deadline=6.0)
    assert "it takes too long" in message_of(client.get(SNAPSHOTS, status=502))
    pids = (tmp_path / "process.py.pids").read_text().split()
    assert len(pids) == 2
    wait_until(lambda: not any(is_running(pid) for pid in pids), "the end of the processes")
    key = {"Version": 1, "AccessKeyId": BASE_KEY[0], "SecretAccessKey": BASE_KEY[1]}
    (tmp_path / "process.py").write_text(f"print({json.dumps(key)!r})")
    clock.go_on(10)
    client.get(SNAPSHOTS)
    assert len(programmed_ec2.requests) == 1


ENDLESS = """
import os, sys, time
with open(sys.argv[0] + ".pid", "w") as file:
    print(os.getpid(), file=file)
while True:
    os.write(%d, bytes(1 << 16))
"""


@pytest.mark.live
@pytest.mark.parametrize(
    ("descriptor", "cause"), [(1, "has returned none"), (2, "it takes too long")]
)
def test_process_that_writes_without_end_takes_no_memory(account, tmp_path, descriptor, cause):
    client = account(process_profile(tmp_path, ENDLESS % descriptor), deadline=6.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert cause in message_of(client.get(SNAPSHOTS, status=502))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 50_000  # kB
    assert not is_running((tmp_path / "process.py.pid").read_text().strip())


def is_running(pid):
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_failed_refresh_is_logged_and_the_old_credentials_serve_on(
    reader, programmed_ec2, sts, clock, caplog
):
    reader.get(SNAPSHOTS)
    sts.refusal = ("AccessDenied", "Not any more.")
    clock.go_on(3600 - 120)
    reader.get(SNAPSHOTS)
    wait_until(lambda: "no credentials for the account reader" in caplog.text, "the warning")
    assert "AccessDenied: Not any more" in caplog.text
    assert len(sts.requests) == 2
    reader.get(SNAPSHOTS)
    assert len(sts.requests) == 2  # it is too early for another attempt
    assert len(set(signers(programmed_ec2))) == 1


def test_expired_credentials_are_502_until_sts_responds_again(reader, programmed_ec2, sts, clock):
    reader.get(SNAPSHOTS)
    sts.refusal = ("AccessDenied", "Not any more.")
    clock.go_on(3600)
    message = message_of(reader.get(SNAPSHOTS, status=502))
    assert "There are no credentials for the account reader: AssumeRole failed" in message
    assert len(programmed_ec2.requests) == 1
    sts.refusal = None
    clock.go_on(10)
    reader.get(SNAPSHOTS)
    assert signers(programmed_ec2)[-1][0] == sts.handed_out[-1].id


def test_each_expiry_costs_one_call_of_sts_whatever_the_number_of_threads(
    reader, programmed_ec2, sts, clock
):
    app, caller = reader.app, ("reader", password_of("reader"))

    def all_at_once():
        barrier = threading.Barrier(16)
        statuses = []

        def get():
            barrier.wait(30)
            statuses.append(client_of(app, caller).get(SNAPSHOTS, status="*").status_int)

        threads = [threading.Thread(target=get) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert statuses == [200] * 16

    for round in range(2):
        all_at_once()
        assert len(sts.requests) == round + 1
        # All have waited for the new credentials: the old ones have expired.
        assert {signer[0] for signer in signers(programmed_ec2)[16 * round :]} == {
            sts.handed_out[round].id
        }
        clock.go_on(3600)
