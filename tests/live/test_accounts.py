"""Accounts with the running command: the walk-through of the documentation, checks and reloads."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from tests.support.accounts import (
    BASE_KEY,
    htpasswd_line,
    password_of,
    role_of,
    role_profile,
    write_account_files,
)
from tests.support.addresses import SNAPSHOTS
from tests.support.callers import basic_authorization
from tests.support.launcher import run
from tests.support.markdown import ROOT, code_blocks, read_page
from tests.support.package import running_moto
from tests.support.servers import BIN, LIMIT_SECONDS, replaced, running, wait_until
from tests.support.sts_server import STS, HandedOut, STSServer

BLOCKS = list(code_blocks(read_page("docs/accounts.md")))
MIGRATION = read_page("docs/migration.md")
[PYTHON_CLIENT] = (b.text for b in code_blocks(read_page("docs/api.md")) if b.language == "python")


def texts(language):
    return [block.text for block in BLOCKS if block.language == language]


TRUST, ASSUME, READ, _ = texts("json")
AWS_CONFIG, PROXY_INI = texts("ini")[:2]
CREATE_ROLE, CREATE_ACCOUNT, CHECK, SERVE, CLIENT, LOGIN = texts("sh")
[ALL] = (block.text for block in code_blocks(MIGRATION) if block.language == "json")


def policy(text):
    """Adapt a policy to moto's IAM, which supports no resources of EC2."""
    document = json.loads(text)
    for statement in document["Statement"]:
        if "ec2:" in str(statement.get("Action")):
            statement["Resource"] = "*"
    return json.dumps(document)


@pytest.fixture(scope="module")
def walked_through(tmp_path_factory):
    """Walk through the page on a host with an instance role, and add an account that may all.

    Gives the server, and a function that runs a script in the folder.
    """
    if shutil.which("htpasswd") is None:
        pytest.skip("needs Debian's package apache2-utils")
    folder = tmp_path_factory.mktemp("accounts")
    (folder / "bin").mkdir()
    aws = folder / "bin/aws"
    program = f"{sys.executable} -m tests.support.aws_cli"
    aws.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {program} "$@"\n')
    aws.chmod(0o755)
    with pytest.MonkeyPatch.context() as monkeypatch, STSServer().running() as metadata:
        # What is not authorised: four calls of the fixture, and the commands of both accounts.
        monkeypatch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", str(4 + 3 + 3))
        with running_moto() as url:
            metadata.sts = STS(metadata.url)
            metadata.sts.instance = arrange(url)
            env = os.environ | {
                "PATH": f"{folder}/bin:{os.environ['PATH']}",
                "TMPDIR": str(folder),
                "AWS_ENDPOINT_URL": url,
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": "administrator",
                "AWS_SECRET_ACCESS_KEY": "secret",
            }

            def run(script, **variables):
                return subprocess.run(
                    ["sh", "-euc", script.replace("venv/bin/", f"{BIN}/")],
                    cwd=folder,
                    env=env | variables,
                    capture_output=True,
                    text=True,
                    timeout=LIMIT_SECONDS,
                )

            # moto compares the session of a role, not the role.
            session = "arn:aws:sts::123456789012:assumed-role/dcproxy/host"
            for name, text in {
                "trust.json": replaced(TRUST, (role_of("dcproxy"), session)),
                "assume.json": ASSUME,
                "read.json": policy(READ),
                "all.json": policy(ALL),
                "aws-config": AWS_CONFIG + "\n" + AWS_CONFIG.replace("reader", "owner"),
                "proxy.ini": replaced(
                    PROXY_INI, ("egg:dcproxy\n", f"egg:dcproxy\nec2_endpoint_url = {url}\n")
                ),
            }.items():
                (folder / name).write_text(text)
            passwords = {}
            for account, script in {
                "reader": CREATE_ROLE + CREATE_ACCOUNT,
                "owner": (CREATE_ROLE + CREATE_ACCOUNT)
                .replace("reader", "owner")
                .replace("read.json", "all.json")
                .replace("-i -c -B", "-i -B"),
            }.items():
                result = run(script)
                assert result.returncode == 0, result.stderr
                passwords[account] = re.search(f"password of {account} is (.*)", result.stdout)[1]
            checked = run(CHECK)
            assert checked.stdout == f"{folder}/proxy.ini is correct\n", checked.stderr
            command = [*SERVE.strip().replace("venv/bin/", f"{BIN}/").split(), "--port", "0"]
            with running(command, folder / "log", cwd=folder, env=env) as server:
                yield server, run, passwords


def arrange(url):
    """Create a snapshot and the instance role; return the credentials that the instance has."""
    once = Config(retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": "administrator", "aws_secret_access_key": "secret"}
    options = {"region_name": "us-east-1", "endpoint_url": url, "config": once, **keys}
    ec2, iam, sts = (boto3.client(name, **options) for name in ("ec2", "iam", "sts"))
    volume_id = ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)["VolumeId"]
    ec2.create_snapshot(VolumeId=volume_id)
    iam.create_role(RoleName="dcproxy", AssumeRolePolicyDocument="{}")
    session = sts.assume_role(RoleArn=role_of("dcproxy"), RoleSessionName="host")["Credentials"]
    parts = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    return HandedOut(*(session[part] for part in parts), "instance")


@pytest.mark.parametrize(("script", "element"), [(CLIENT, "<storage_snapshot "), (LOGIN, "<api ")])
def test_client_of_the_walk_through_is_let_in(walked_through, script, element):
    server, run, passwords = walked_through
    script = replaced(script, ("localhost:3001", f"localhost:{server.port}"))
    result = run(f"{script.strip()} --silent --include", PASSWORD=passwords["reader"])
    assert result.stdout.startswith("HTTP/1.1 200 OK"), result.stdout
    assert element in result.stdout


@pytest.mark.parametrize(
    ("account", "message"), [("reader", "AccessDenied: "), ("owner", "InvalidVolume.NotFound: ")]
)
def test_curl_may_create_what_the_role_of_its_account_may(walked_through, account, message):
    server, run, passwords = walked_through
    script = replaced(
        CLIENT,
        ("localhost:3001", f"localhost:{server.port}"),
        ("reader", account),
        ("?owner_id=self'", "' --silent --data volume_id=vol-12345678"),
    )
    assert message in run(script, PASSWORD=passwords[account]).stdout


def python_client(walked_through, account):
    server, _, passwords = walked_through
    script = replaced(
        PYTHON_CLIENT,
        ("localhost:3001", f"localhost:{server.port}"),
        ("mockuser:mockpassword", f"{account}:{passwords[account]}"),
    )
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT_SECONDS
    )


def test_python_client_of_an_account_that_may_all_creates_and_deletes(walked_through):
    result = python_client(walked_through, "owner")
    assert result.returncode == 0, result.stderr
    assert re.search("created snap-[0-9a-f]+ ", result.stdout)


def test_python_client_of_an_account_that_may_read_only_lists(walked_through):
    result = python_client(walked_through, "reader")
    assert "snap-" in result.stdout
    assert "created" not in result.stdout
    assert "HTTP Error 502" in result.stderr


# The files


@pytest.fixture
def folder(tmp_path, ec2_server, sts):
    write_account_files(tmp_path, {"reader": role_profile("reader", sts.url)})
    options = f"ec2_endpoint_url = {ec2_server.url}\n"
    (tmp_path / "proxy.ini").write_text(
        replaced(PROXY_INI, ("egg:dcproxy\n", f"egg:dcproxy\n{options}"))
    )
    return tmp_path


@pytest.fixture
def server(folder):
    command = [BIN / "dcproxy", "--config", folder / "proxy.ini", "--port", "0"]
    with running(command, folder / "log") as server:
        yield server


def status_of(server, name):
    authorization = basic_authorization(f"{name}:{password_of(name)}")
    return server.get(SNAPSHOTS, {"Authorization": authorization})[0].status


def append(file, text):
    with file.open("a") as appended:
        appended.write(text)


def test_reload_takes_the_changed_files(server, folder, programmed_ec2, sts):
    assert (status_of(server, "reader"), status_of(server, "backup")) == (200, 401)
    append(folder / "accounts", htpasswd_line("backup"))
    append(folder / "aws-config", "\n" + role_profile("backup", sts.url))
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: status_of(server, "backup") == 200, "the new account")
    assert programmed_ec2.requests[-1].access_key_id == sts.handed_out[-1].id


def test_reload_of_wrong_files_changes_nothing_and_logs_the_reason(
    server, folder, programmed_ec2, sts
):
    accounts, aws_config = folder / "accounts", folder / "aws-config"
    assert status_of(server, "reader") == 200  # the worker has read the files
    for file, text, message in (
        (accounts, "backup:$apr1$x$y\n", "accounts, line 2: backup has no bcrypt hash"),
        (accounts, htpasswd_line("backup"), "there is no [profile backup]"),
        (aws_config, "[profile\n", "cannot be read"),
    ):
        before = file.read_text()
        append(file, text)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda message=message: message in server.log.read_text(), "the line")
        file.write_text(before)
        assert (status_of(server, "reader"), status_of(server, "backup")) == (200, 401)
    assert server.log.read_text().count("the configuration was not reloaded") == 3


PROCESS = """
import json, os, pathlib, time
pids = pathlib.Path(__file__ + ".pid")
if not pids.exists():
    pids.write_text(str(os.getpid()))
    time.sleep(600)
print(json.dumps({"Version": 1, "AccessKeyId": %r, "SecretAccessKey": %r}))
"""


def test_source_of_credentials_that_hangs_once_does_not_lock_out_its_account(
    folder, programmed_ec2, sts
):
    (folder / "process.py").write_text(PROCESS % BASE_KEY)
    process = f"credential_process = {sys.executable} {folder}/process.py"
    write_account_files(
        folder,
        {"reader": role_profile("reader", sts.url), "archive": f"[profile archive]\n{process}\n"},
    )
    append(folder / "proxy.ini", "deadline = 15\nread_timeout = 2\n")
    ended = threading.Event()

    def drip(body):
        sts.send = lambda body: [body]  # the next time
        for number in range(len(body)):
            ended.wait(1)
            yield body[number : number + 1]

    sts.send = drip
    command = [BIN / "dcproxy", "--config", folder / "proxy.ini", "--port", "0"]
    with running(command, folder / "log") as server, ThreadPoolExecutor() as threads:
        both = ("reader", "archive")
        assert list(threads.map(partial(status_of, server), both)) == [502, 502]
        for name in both:  # the attempts themselves have ended
            line = f'"no credentials for the account {name}: it takes too long"'
            wait_until(lambda line=line: line in server.log.read_text(), "the line", 10)
        wait_until(lambda: {status_of(server, name) for name in both} == {200}, "credentials")
        pid = (folder / "process.py.pid").read_text()
        assert not Path(f"/proc/{pid}").exists()
        ended.set()


def test_guesses_from_many_connections_do_not_keep_an_account_from_its_first_login(
    folder, programmed_ec2, sts
):
    write_account_files(folder, {"reader": role_profile("reader", sts.url)}, bcrypt_cost=9)
    append(folder / "proxy.ini", "trusted_proxies = 1\n")
    command = [BIN / "dcproxy", "--config", folder / "proxy.ini", "--port", "0"]
    with running(command, folder / "log") as server:
        over = threading.Event()

        def guess(number):
            statuses = set()
            while not over.is_set():
                guessed = {
                    "Authorization": basic_authorization(f"nobody{number}:{time.monotonic()}"),
                    "X-Forwarded-For": "192.0.2.1",
                }
                statuses.add(server.get(SNAPSHOTS, guessed)[0].status)
            return statuses

        with ThreadPoolExecutor(100) as threads:
            guesses = threads.map(guess, range(100))
            wait_until(lambda: server.log.read_text().count("a login failed") > 100, "guesses")
            started = time.monotonic()
            assert status_of(server, "reader") == 200
            seconds = time.monotonic() - started
            over.set()
        assert set().union(*guesses) <= {401, 502}
        assert seconds < 10


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("accounts", "backup:x\n", "accounts, line 2: backup has no bcrypt hash"),
        ("aws-config", "[profile reader]\n", "cannot be read"),  # a section twice
        ("aws-config", None, "aws-config cannot be read: "),
        ("accounts", None, "accounts cannot be read: "),
    ],
)
def test_check_tells_what_is_wrong_with_the_files(folder, name, text, message):
    file = folder / name
    file.unlink() if text is None else append(file, text)
    result = run([BIN / "dcproxy", "--check", "--config", folder / "proxy.ini"])
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
