"""The commands and client examples of the documentation, run as they are written.

Only the address, and the folder of the virtual environment, are replaced.
"""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from lxml import etree

from tests.support.callers import basic_authorization
from tests.support.markdown import ROOT, code_blocks, read_page
from tests.support.package import MOCK_USER
from tests.support.programs import require_program
from tests.support.servers import BIN, LIMIT_SECONDS, replaced, running, wait_until

ADDRESS = "localhost:3001"
VENV = "venv/bin/"
PAGES = ("README.md", "docs/api.md", "docs/idempotency.md", "docs/observability.md")
VARYING_HEADERS = ("Location",)


def blocks(language, *pages):
    return [
        block
        for page in pages
        for block in code_blocks(read_page(page))
        if block.language == language
    ]


def title(block):
    """Name a test after the last line of its block."""
    return re.sub(r"[^\w./;?=]+", "-", block.text.strip().splitlines()[-1])[-60:].strip("-")


REQUESTS = [block for block in blocks("sh", *PAGES) if ADDRESS in block.text]
CONFIGURATION_PAGES = ("docs/configuration.md", "docs/observability.md", "docs/deployment.md")
CHECK_OF_A_FILE = next(
    block for block in blocks("sh", "docs/configuration.md") if "--check" in block.text
)
GUNICORN_COMMANDS = [
    block
    for block in blocks("sh", "docs/filter.md", *CONFIGURATION_PAGES)
    if f"{VENV}gunicorn " in block.text
]
RUBY_SCRIPTS = blocks("ruby", "docs/api.md")


@pytest.fixture(scope="module")
def mock(tmp_path_factory):
    """Start the mock with the last command of the quick start, on a free port."""
    [start] = [block.text for block in blocks("sh", "README.md") if " -i mock" in block.text]
    command = start.rpartition(" && ")[2].strip()
    folder = tmp_path_factory.mktemp("mock")
    arguments = command.replace(VENV, f"{BIN}/").split()
    with running([*arguments, "--port", "0"], folder / "log", cwd=folder) as server:
        yield server


def run(script, tmp_path, check=True):
    """Run a script of a page with the shell, in a folder of its own."""
    # curl's own output is the documented one; an error status is a failure.
    (tmp_path / ".curlrc").write_text("silent\nshow-error\nfail-with-body\n")
    env = os.environ | {"CURL_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    return subprocess.run(
        ["sh", "-euc", script.replace(VENV, f"{BIN}/")],
        capture_output=True,
        text=True,
        check=check,
        timeout=LIMIT_SECONDS,
        cwd=tmp_path,
        env=env,
    )


def local(text, mock):
    return replaced(text, (ADDRESS, f"localhost:{mock.port}"))


def test_quick_start_prints_what_the_readme_shows(mock):
    [documented] = [
        block.text for block in blocks("console", "README.md") if "listens on" in block.text
    ]
    assert local(documented, mock) in mock.log.read_text()


@pytest.mark.parametrize("block", REQUESTS, ids=title)
def test_request_has_the_documented_response(block, mock, tmp_path):
    result = run(local(block.text, mock), tmp_path)
    assert result.stdout
    if block.output:
        COMPARISONS[block.output.language](result.stdout, block.output.text)


def assert_same_xml(actual, documented):
    assert actual.splitlines()[0] == documented.splitlines()[0]
    documented_tree, tree = (etree.fromstring(text.encode()) for text in (documented, actual))
    assert tree.tag == documented_tree.tag
    assert outline(tree[0]) == outline(documented_tree[0])


def outline(element):
    return element.tag, element.attrib.keys(), [outline(child) for child in element]


def assert_same_json(actual, documented):
    assert json_outline(json.loads(actual)) == json_outline(json.loads(documented))


def json_outline(value):
    if isinstance(value, dict):
        return {name: json_outline(member) for name, member in value.items()}
    return type(value)


def assert_same_head(actual, documented):
    *documented_lines, ellipsis = documented.splitlines()
    assert ellipsis == "..."
    lines = actual.splitlines()
    assert lines[0] == documented_lines[0]
    for line in documented_lines[1:]:
        name, _, value = line.partition(": ")
        [sent] = [sent for sent in lines if sent.startswith(f"{name}: ")]
        assert name in VARYING_HEADERS or sent == f"{name}: {value}"


COMPARISONS = {"xml": assert_same_xml, "json": assert_same_json, "console": assert_same_head}


@pytest.mark.parametrize("format", ["xml", "json"])
def test_error_is_the_documented_one(format, mock):
    [documented] = [
        block.text
        for block in blocks(format, "docs/api.md")
        if "InvalidSnapshot.NotFound" in block.text
    ]
    response, body = mock.get(
        f"/api/storage_snapshots/snap-00000000?format={format}",
        {"Authorization": basic_authorization(MOCK_USER)},
    )
    assert response.status == 404
    # moto sends the code of EC2 without the message.
    messages = ("The snapshot 'snap-00000000' does not exist.", "EC2 sent no message.")
    assert body.decode().strip() == replaced(documented.strip(), messages)


def test_python_client(mock, tmp_path):
    [block] = blocks("python", "docs/api.md")
    script = tmp_path / "client.py"
    script.write_text(local(block.text, mock))
    output = subprocess.check_output([sys.executable, script], text=True, timeout=LIMIT_SECONDS)
    *listed, created = output.splitlines()
    assert listed
    line = re.compile(r"snap-[0-9a-f]+ .+ \w{3} \w{3} \d\d [\d:]{8} UTC \d{4}")
    assert all(map(line.fullmatch, listed))
    snapshot_id = re.match(r"created (snap-[0-9a-f]+) (pending|completed)$", created)[1]
    assert_deleted(snapshot_id, mock)


def assert_deleted(snapshot_id, mock):
    authorization = {"Authorization": basic_authorization(MOCK_USER)}
    response, _ = mock.get(f"/api/storage_snapshots/{snapshot_id}", authorization)
    assert response.status == 404


@pytest.fixture
def ruby():
    path = shutil.which("ruby")
    if path is None:
        pytest.skip("needs Debian's package ruby")
    return path


@pytest.mark.parametrize("block", RUBY_SCRIPTS, ids=title)
def test_ruby_client_is_valid(block, ruby):
    result = subprocess.run(
        [ruby, "-c"], input=block.text, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )
    assert (result.returncode, result.stdout) == (0, "Syntax OK\n"), result.stderr


@pytest.mark.parametrize("block", RUBY_SCRIPTS, ids=title)
def test_ruby_client(block, ruby, mock):
    library = re.search(r"(?m)^require '(.*)'$", block.text)[1]
    required = [ruby, "-e", f"require '{library}'"]
    if subprocess.run(required, capture_output=True, timeout=LIMIT_SECONDS).returncode:
        pytest.skip(f"needs the Ruby gem with {library}")
    output = subprocess.check_output(
        [ruby], input=local(block.text, mock), text=True, timeout=LIMIT_SECONDS
    )
    *listed, created = output.splitlines()
    assert all(line.startswith("snap-") for line in listed)
    assert created.endswith(tuple("0123456789"))


def test_check_of_the_example_file(tmp_path):
    shutil.copy(ROOT / "proxy.ini", tmp_path)
    documented = replaced(CHECK_OF_A_FILE.output.text, ("/srv/dcproxy/", f"{tmp_path}/"))
    assert run(CHECK_OF_A_FILE.text, tmp_path).stdout == documented


def test_check_of_a_file_with_an_error(tmp_path):
    text = replaced((ROOT / "proxy.ini").read_text(), ("page_size = 1000", "page_size = 4"))
    (tmp_path / "proxy.ini").write_text(text)
    result = run(CHECK_OF_A_FILE.text, tmp_path, check=False)
    error = CHECK_OF_A_FILE.output.output.text
    documented = replaced(error, ("/srv/dcproxy/", f"{tmp_path}/"))
    assert (result.returncode, result.stderr) == (2, documented)


@pytest.mark.parametrize("block", GUNICORN_COMMANDS, ids=title)
def test_gunicorn_accepts_the_command(block, tmp_path):
    shutil.copy(ROOT / "proxy.ini", tmp_path)
    assert run(f"{block.text.strip()} --check-config", tmp_path).returncode == 0


SECRET_FILES = [
    line
    for block in blocks("sh", "docs/deployment.md", "docs/runbook.md")
    for line in block.text.splitlines()
    if "key.pem >" in line
]


@pytest.mark.parametrize("line", SECRET_FILES)
def test_file_with_a_private_key_is_for_its_owner_only(line, tmp_path):
    for name in ("certificate.pem", "key.pem"):
        (tmp_path / name).touch()
    target = re.search(r"> (/etc/\S+/)\S+\)$", line)[1]
    run(replaced(line, (target, f"{tmp_path}/copy-of-")), tmp_path)
    [copy] = tmp_path.glob("copy-of-*")
    assert copy.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to a group")
def test_files_of_accounts_are_for_the_service_only(tmp_path):
    [line] = [block.text for block in blocks("sh", "docs/deployment.md") if "0640" in block.text]
    for name in ("accounts", "aws-config"):
        (tmp_path / name).touch()
    (tmp_path / "etc").mkdir()
    run(replaced(line, ("-g dcproxy", "-g nogroup"), ("/etc/dcproxy/", "etc/")), tmp_path)
    for path in (tmp_path / "etc").iterdir():
        assert (path.stat().st_mode & 0o777, path.group()) == (0o640, "nogroup")
    assert "SupplementaryGroups=dcproxy\n" in read_page("deploy/dcproxy@.service")


def test_runbook_adds_and_removes_an_account(tmp_path):
    require_program("htpasswd")
    add, reload, remove = (
        next(block.text for block in blocks("sh", "docs/runbook.md") if part in block.text)
        for part in ("cat >> /etc/dcproxy", "systemctl reload dcproxy@3001", "htpasswd -D")
    )
    ini = tmp_path / "proxy.ini"
    ini.write_text(
        f"[app:main]\nuse = egg:dcproxy\naccounts = {tmp_path}/accounts\n"
        f"aws_config = {tmp_path}/aws-config\n"
    )
    subprocess.run(
        ["htpasswd", "-bcB", tmp_path / "accounts", "first", "x"], check=True, timeout=LIMIT_SECONDS
    )
    (tmp_path / "aws-config").write_text(
        "[profile first]\nrole_arn = arn:aws:iam::123456789012:role/first\n"
        "credential_source = Ec2InstanceMetadata\n"
    )
    with running([BIN / "dcproxy", "--config", ini, "--port", "0"], tmp_path / "log") as server:
        signal = ("systemctl reload dcproxy@3001", f"kill -HUP {server.process.pid}")
        reload = replaced(
            reload,
            signal,
            (" && systemctl reload dcproxy@3002", ""),
            ("runuser -u nobody -g dcproxy -- ", ""),
        )

        def follow(step):
            text = step.replace("/etc/dcproxy", str(tmp_path)).replace("/opt/dcproxy/bin/", VENV)
            return run(text, tmp_path).stdout

        def status():
            user = {"Authorization": basic_authorization(f"backup:{password}")}
            return server.get("/api?force_auth=1", user)[0].status

        server.get("/healthz")  # a worker has read the files
        password = re.search(r"The password of backup is (\S+)", follow(add))[1]
        assert status() == 401
        follow(reload)
        # The account is known; the instance role, which this host does not have, is not.
        wait_until(lambda: status() == 502, "the account to be known")
        follow(remove)
        follow(reload)
        wait_until(lambda: status() == 401, "the account to be gone")
