"""``dcproxy --doctor`` as a command: exit codes, formats, and the question for a key."""

import json
import os
import pty

import pytest

from tests.support.accounts import write_account_files
from tests.support.launcher import run
from tests.support.servers import BIN, wait_until

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "se/cret"}
ALONE = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def doctor(file, *arguments, env=KEYS):
    return run([BIN / "dcproxy", "--doctor", "-c", file, *arguments], env=ALONE | env)


@pytest.fixture
def file(tmp_path, moto_url, snapshot_id):
    path = tmp_path / "proxy.ini"
    path.write_text(f"[app:main]\nuse = egg:dcproxy\nec2_endpoint_url = {moto_url}\n")
    return path


def test_doctor_finds_nothing_wrong_and_changes_nothing(file, ec2):
    before = ec2.describe_volumes()["Volumes"], ec2.describe_snapshots()["Snapshots"]
    result = doctor(file)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ec2:DeleteVolume               deleting volumes         allowed" in result.stdout
    assert result.stdout.endswith("1 of 1 without a fault\n")
    assert "\x1b" not in result.stdout
    assert (ec2.describe_volumes()["Volumes"], ec2.describe_snapshots()["Snapshots"]) == before


def test_doctor_writes_json(file):
    result = doctor(file, "--json")
    written = json.loads(result.stdout)
    assert written["file"]["result"] == "ok"
    assert written["reports"][0]["region"] == "us-east-1"


def test_doctor_finds_an_incomplete_account(tmp_path):
    files = write_account_files(tmp_path, {"reader": "[profile reader]\nrole_arn = arn\n"})
    options = "".join(f"{name} = {value}\n" for name, value in files.options.items())
    file = tmp_path / "proxy.ini"
    file.write_text(f"[app:main]\nuse = egg:dcproxy\n{options}")
    result = doctor(file)
    assert result.returncode == 1
    assert "[profile reader] is incomplete" in result.stdout
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["--account", "reader"], KEYS, "there is no account reader"),
        ([], {}, "no key in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_usage_is_an_error(file, arguments, env, message):
    result = doctor(file, *arguments, env=env)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]


def test_doctor_asks_for_a_key_without_echo_and_uses_colours(file):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(BIN / "dcproxy", ["dcproxy", "--doctor", "-c", str(file)], ALONE)
    shown = b""

    def reads(text):
        nonlocal shown
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the command has ended
            return True
        return text in shown

    for name, value in KEYS.items():
        wait_until(lambda name=name: reads(f"{name}: ".encode()), f"the question for {name}")
        os.write(terminal, f"{value}\n".encode())
    wait_until(lambda: reads(b"no such text"), "the end of the command")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "\x1b[32mallowed\x1b[0m" in shown.decode()
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in shown.decode()
