"""The ``dcproxy`` command."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path

import pytest
from lxml import etree

from tests.support.accounts import write_account_files
from tests.support.callers import basic_authorization
from tests.support.certificates import make_certificate
from tests.support.launcher import run
from tests.support.markdown import code_spans, read_page, table
from tests.support.package import MOCK_USER
from tests.support.servers import (
    BIN,
    LIMIT_SECONDS,
    NOWHERE,
    PROXY_INI,
    WORKER,
    children,
    gunicorn,
    running,
    wait_until,
)

GOOD = "[app:main]\nuse = egg:dcproxy\n"
SERVER = "[server:main]\nuse = egg:gunicorn#main\n"


def dcproxy(*arguments, env=None):
    return run([BIN / "dcproxy", *arguments], env=os.environ | (env or {}))


def running_mock(folder, *arguments):
    command = [BIN / "dcproxy", "-i", "mock", "-p", "0", *arguments]
    return running(command, folder / "log", cwd=folder)


@pytest.fixture(scope="module")
def mock_server(tmp_path_factory):
    with running_mock(tmp_path_factory.mktemp("mock"), "-P", "EU-CENTRAL-1") as server:
        yield server


def test_mock_prints_a_working_curl_command(mock_server):
    line = re.search(r"^Try: (curl .*)$", mock_server.log.read_text(), re.MULTILINE)[1]
    result = subprocess.run(
        line.replace("curl ", "curl --silent --fail ", 1),
        shell=True,
        capture_output=True,
        timeout=LIMIT_SECONDS,
    )
    assert result.returncode == 0
    snapshots = etree.fromstring(result.stdout)
    assert snapshots.tag == "storage_snapshots"
    assert len(snapshots) > 0


def test_counters_begin_at_zero_and_count_the_first_event(mock_server):
    def count():
        _, body = mock_server.get("/metrics")
        labels = 'operation="storage_snapshots.create",result="refused",status="401"'
        return re.findall(rf"(?m)^dcproxy_requests_total{{{labels}}} (.*)$", body.decode())

    assert count() == ["0.0"]
    mock_server.get("/api/storage_snapshots", method="POST")
    assert count() == ["1.0"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_mock_stops_shortly_with_its_children(tmp_path, how):
    # An idle connection must not delay the stop: gunicorn's own graceful_timeout is 30 s.
    with (
        running_mock(tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port), LIMIT_SECONDS) as idle,
    ):
        idle.sendall(b"GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(100)
        family = children(server.process.pid)
        assert len(family) == 2
        server.process.send_signal(how)
        server.process.wait(20)
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), "the children to end"
        )
        assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("option", ["-l", "--drivers"])
def test_drivers_are_listed(option):
    result = dcproxy(option)
    assert (result.returncode, result.stdout, result.stderr) == (0, "ec2\nmock\n", "")


IGNORED = [
    (["-e", "production"], "-e has no effect: logs have the option log_format"),
    (["-d"], "-d has no effect: deploy/dcproxy@.service runs it in the background"),
    (["-f", "deltacloud,cimi"], "-f has no effect: there is only the Deltacloud frontend"),
    (["-L", "/var/log/d.log"], "-L has no effect: logs go to stderr"),
    (["-V"], "-V has no effect: [loggers] in the file of --config sets the level of logs"),
    (["-t", "60"], "-t has no effect: the option deadline in the file of --config"),
]


@pytest.mark.parametrize(("arguments", "message"), IGNORED)
def test_option_of_deltacloudd_without_an_effect_is_one_line(arguments, message):
    result = dcproxy(*arguments, "--check", "-c", PROXY_INI)
    assert (result.returncode, result.stdout) == (0, f"{PROXY_INI} is correct\n")
    [line] = result.stderr.splitlines()
    assert line.startswith(f"dcproxy: {message}")


@pytest.mark.parametrize("variable", ["API_USER", "API_PASSWORD"])
def test_credentials_in_the_environment_have_no_effect(variable):
    result = dcproxy("--check", "-c", PROXY_INI, env={variable: "secret-of-somebody"})
    assert (result.returncode, result.stdout) == (0, f"{PROXY_INI} is correct\n")
    [line] = result.stderr.splitlines()
    assert line == f"dcproxy: {variable} has no effect: clients send their own credentials"


def test_table_of_migration_has_the_options_without_an_effect():
    rows = table(read_page("docs/migration.md"), "`deltacloudd`", "`dcproxy`")
    documented = [
        name
        for row in rows
        for name in code_spans(row["`deltacloudd`"])
        if row["`dcproxy`"].startswith("no effect: ")
    ]
    assert documented == [*(arguments[0] for arguments, _ in IGNORED), "API_USER", "API_PASSWORD"]


def test_server_runs_with_the_options_of_deltacloudd(tmp_path):
    ini = tmp_path / "proxy.ini"
    ini.write_text(GOOD)
    old = [argument for arguments, _ in IGNORED for argument in arguments]
    command = [BIN / "dcproxy", *old, "-c", ini, "-r", "127.0.0.1", "-p", "0"]
    with running(command, tmp_path / "log") as server:
        assert server.get("/api")[0].status == 200
    assert server.log.read_text().count("has no effect") == len(IGNORED)


@pytest.mark.parametrize(
    ("arguments", "variable", "region"),
    [
        ([], "eu-west-1", "eu-west-1"),
        ([], "ec2.EU-west-1.amazonaws.com", "eu-west-1"),
        (["-P", "eu-central-1"], "eu-west-1", "eu-central-1"),
        (["-P", "EU-CENTRAL-1"], "eu-west-1", "eu-central-1"),
    ],
)
def test_default_region_is_of_the_option_or_the_environment(tmp_path, arguments, variable, region):
    env = {"API_PROVIDER": variable}
    command = [BIN / "dcproxy", "-p", "0", *arguments]
    with running(command, tmp_path / "log", env=os.environ | env) as server:
        server.get("/api/realms")
        wait_until(lambda: f'"provider": "{region}"' in server.log.read_text(), "the log line")
        # A request that names none has none in its response.
        response, _ = server.get("/api")
        assert "X-Deltacloud-Provider" not in response.headers


def test_mock_has_the_region_of_the_option(mock_server):
    _, body = mock_server.get("/api/realms", {"Authorization": basic_authorization(MOCK_USER)})
    assert etree.fromstring(body).findtext("realm/name") == "eu-central-1a"


def test_region_of_the_environment_is_checked():
    result = dcproxy("-p", "0", env={"API_PROVIDER": "mars-1"})
    assert result.returncode == 2
    assert "provider = 'mars-1' is not allowed" in result.stderr.splitlines()[-1]


def test_paste_file_takes_precedence_over_the_region_of_the_environment():
    result = dcproxy("--check", "-c", PROXY_INI, env={"API_PROVIDER": "mars-1"})
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing")
@pytest.mark.parametrize("options", [["-s"], []])
def test_command_serves_tls(tmp_path, options):
    ca, key, certificate = make_certificate(tmp_path)
    command = [BIN / "dcproxy", "-p", "0", *options, "-k", key, "-C", certificate]
    with running(command, tmp_path / "log") as server:
        context = ssl.create_default_context(cafile=ca)
        url = f"https://127.0.0.1:{server.port}/api"
        with urllib.request.urlopen(url, context=context, timeout=LIMIT_SECONDS) as response:
            assert etree.fromstring(response.read()).get("version") == "1.1.3"
        assert f"dcproxy listens on https://localhost:{server.port}/api" in server.log.read_text()


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing")
def test_tls_needs_both_files(tmp_path):
    _, key, certificate = make_certificate(tmp_path)
    for arguments in (["-s"], ["-k", key], ["-C", certificate], ["-s", "-k", key]):
        result = dcproxy(*arguments)
        assert result.returncode == 2
        assert "TLS needs --ssl-key and --ssl-cert" in result.stderr.splitlines()[-1]


def test_version():
    assert re.fullmatch(r"dcproxy \d+\.\d+\.\d+(\.dev\d+)?\n", dcproxy("--version").stdout)


def test_help_names_each_option():
    text = dcproxy("--help").stdout
    for option in ("--driver", "--hostname", "--port", "--provider", "--config", "--version"):
        assert option in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-P", "mars-1"], "provider = 'mars-1' is not allowed"),
        (["-p", "99999"], "99999 is not a port"),
        (["-p", "http"], "http is not a port"),
        (["-i", "openstack"], "invalid choice: 'openstack'"),
        (["-c", "nothing.ini"], "there is no file nothing.ini"),
        (["--check"], "--check needs --config"),
        (["--doctor"], "--doctor needs --config"),
        (["-c", PROXY_INI, "--json"], "--account and --json need --doctor"),
        (["-k", "nothing.pem", "-C", "nothing.pem"], "there is no file nothing.pem"),
        (["-c", PROXY_INI, "-P", "eu-west-1"], "--config excludes --provider"),
    ],
)
def test_invalid_argument_is_reported_in_one_line(arguments, message):
    result = dcproxy(*arguments)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "No section 'main'"),
        ("[app:main]\nuse = egg:dcproxy\npage_size = 4\n", "page_size = '4' is not allowed"),
        ("[app:main]\nuse = egg:dcproxy\npagesize = 5\n", "option pagesize is not known"),
        ("[app:main]\nuse = egg:dcproxy\nprovider = mars-1\n", "provider = 'mars-1'"),
        ("[app:main]\nuse = egg:nothing-like-it\n", "nothing-like-it"),
        ("[app:main]\nuse = config:nothing.ini\n", "nothing.ini"),
        ("not an ini file", "line 1 is in no [section]"),
        (f"{GOOD}{SERVER}workers = many\n", "workers = 'many'"),
        (f"{GOOD}{SERVER}worker = 2\n", "option worker = '2'"),
        (f"{GOOD}{SERVER}threads = 0\n", "threads = '0'"),
        (f"{GOOD}{SERVER}worker_class = nope\n", "worker_class = 'nope'"),
        (f"{GOOD}{SERVER}bind = 127.0.0.1:http\n", "bind = '127.0.0.1:http'"),
        (f"{GOOD}{SERVER}certfile = /nothing.pem\n", "certfile = '/nothing.pem'"),
        (f"{GOOD}{SERVER}raw_env = foo\n", "raw_env"),
        (f"{GOOD}{SERVER}daemon = true\n", "option daemon"),
        (f"{GOOD}[server:main]\nuse = egg:gunicorn#wrong\n", "wrong"),
        ("[app:main]\nuse = egg:dcproxy\nglobal_conf = 3\n", "global_conf"),
        (f"{GOOD}[loggers]\nkeys = root\n", "logging cannot be set up"),
    ],
)
def test_invalid_file_is_reported_in_one_line(tmp_path, text, message):
    ini = tmp_path / "proxy.ini"
    ini.write_text(text)
    result = dcproxy("-c", ini)
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith("dcproxy: error: ")
    assert message in line


@pytest.mark.parametrize(
    "line", ["pidfile = /nowhere/pid", "bind = 192.0.2.1:99999", "bind = 192.0.2.1:3001"]
)
def test_failed_startup_has_no_traceback(tmp_path, line):
    ini = tmp_path / "proxy.ini"
    ini.write_text(f"{GOOD}{SERVER}{line}\n")
    result = dcproxy("-c", ini)
    assert result.returncode != 0
    assert "Traceback" not in result.stderr


def test_missing_multiprocess_folder_is_reported_in_one_line():
    result = dcproxy(env={"PROMETHEUS_MULTIPROC_DIR": "/nowhere"})
    assert result.returncode == 2
    assert "'/nowhere'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["-p", "0"], ["-r", "127.0.0.1", "-p", "0"]])
def test_command_line_overrides_the_address_of_the_file(tmp_path, arguments):
    ini = tmp_path / "proxy.ini"
    ini.write_text(f"{GOOD}[server:main]\nuse = egg:gunicorn\nbind = 192.0.2.1:3001\n")
    with running([BIN / "dcproxy", "-c", ini, *arguments], tmp_path / "log") as server:
        assert server.get("/api")[0].status == 200


def test_address_of_the_file_is_used(tmp_path):
    ini = tmp_path / "proxy.ini"
    ini.write_text(f"{GOOD}[server:main]\nuse = egg:gunicorn\nbind = 127.0.0.1:0\n")
    with running([BIN / "dcproxy", "-c", ini], tmp_path / "log") as server:
        assert server.get("/api")[0].status == 200


def test_check_accepts_a_valid_file():
    result = dcproxy("--check", "-c", PROXY_INI)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{PROXY_INI} is correct\n"


def test_check_reports_an_invalid_file(tmp_path):
    ini = tmp_path / "proxy.ini"
    ini.write_text("[app:main]\nuse = egg:dcproxy\npage_size = 4\n")
    result = dcproxy("--check", "-c", ini)
    assert result.returncode == 2
    assert "page_size = '4' is not allowed" in result.stderr


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("app:main", "tags = CostCentre=50%"),
        ("app:main", "tags = CostCentre=50%(half)s"),
        ("server:main", "bind = unix:/run/100%/socket"),
    ],
)
def test_percent_sign_in_the_file_is_an_error_that_says_how_to_write_it(tmp_path, section, line):
    ini = tmp_path / "proxy.ini"
    ini.write_text(f"{GOOD}{SERVER}".replace(f"[{section}]\n", f"[{section}]\n{line}\n"))
    result = dcproxy("--check", "-c", ini)
    assert result.returncode == 2
    assert f"option {line.partition(' ')[0]} in [{section}]" in result.stderr
    assert "write %% for a % itself" in result.stderr


@pytest.mark.parametrize(
    ("contents", "error"),
    [
        (f"{GOOD}{SERVER}a SECRET\n", "not NAME = VALUE in line"),
        (f"raw_env = SECRET\n{GOOD}{SERVER}", "line 1 is in no [section]"),
        (f"{GOOD}{SERVER}raw_env = SECRET\n", "raw_env is not allowed: it takes NAME=VALUE"),
    ],
)
def test_error_in_the_file_does_not_quote_what_may_be_a_secret(tmp_path, contents, error):
    ini = tmp_path / "proxy.ini"
    ini.write_text(contents)
    result = dcproxy("--check", "-c", ini)
    assert result.returncode == 2
    assert error in result.stderr
    assert "SECRET" not in result.stderr


def test_command_serves_proxy_ini(tmp_path):
    command = [BIN / "dcproxy", "-c", PROXY_INI, "-p", "0"]
    with running(command, tmp_path / "log") as server:
        response, body = server.get("/api")
        assert response.status == 200
        assert response.headers["Server"] == "Apache-Deltacloud/1.1.3"
        assert etree.fromstring(body).get("version") == "1.1.3"


def test_port_in_use_has_no_traceback():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = dcproxy("-p", listener.getsockname()[1])
    assert result.returncode != 0
    assert "Traceback" not in result.stderr


TWO_APPLICATIONS = """
[app:main]
use = egg:dcproxy
health = /main

[app:other]
use = egg:dcproxy
health = /other
request_timeout = 1
"""


def test_any_application_of_a_file_runs_with_its_own_time_limits(tmp_path):
    ini = tmp_path / "proxy.ini"
    ini.write_text(TWO_APPLICATIONS)
    with running([BIN / "dcproxy", "-c", f"{ini}#other", "-p", "0"], tmp_path / "log") as server:
        assert server.get("/other")[0].status == 200
        assert server.get("/main")[0].status == 404
        late = server.exchange(b"GET /other HTTP/1.1\r\nHost: l")
        assert b"The request was not complete within 1 seconds." in late


def test_application_that_a_file_does_not_have_is_reported(tmp_path):
    ini = tmp_path / "proxy.ini"
    ini.write_text(TWO_APPLICATIONS)
    result = dcproxy("-c", f"{ini}#third", "--check")
    assert result.returncode == 2
    assert "third" in result.stderr.splitlines()[-1]


def test_application_imports_no_gunicorn():
    code = "import sys, dcproxy.app; print([name for name in sys.modules if 'gunicorn' in name])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT_SECONDS
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")


@pytest.mark.parametrize(("arguments", "count"), [(["-k", "gthread"], 1), (WORKER, 0)])
def test_worker_class_without_time_limits_is_one_warning(tmp_path, arguments, count):
    with gunicorn(tmp_path, NOWHERE, *arguments) as server:
        for _ in range(3):
            assert server.get("/api")[0].status == 200
        warning = "cannot keep the time limits"
        assert server.log.read_text().count(warning) == count


def test_line_at_the_start_and_after_a_reload_tells_what_runs(tmp_path):
    keys = "aws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = secret\n"
    profiles = {name: f"[profile {name}]\n{keys}" for name in ("reader", "writer")}
    files = write_account_files(tmp_path, profiles)
    options = files.options | {"ec2_endpoint_url": "https://ec2.example.org/"}
    ini = tmp_path / "proxy.ini"
    ini.write_text(GOOD + "".join(f"{name} = {value}\n" for name, value in options.items()))
    ca, _, _ = make_certificate(tmp_path)
    proxy = {"HTTPS_PROXY": "http://user:pass-word@proxy.example.org:3128", "NO_PROXY": ""}
    env = os.environ | proxy | {"AWS_CA_BUNDLE": str(ca)}
    line = (
        f"dcproxy {version('dcproxy')}: file {ini}, EC2 https://ec2.example.org/, "
        f"proxy http://***@proxy.example.org:3128, CA file {ca}, accounts 2"
    )
    with running([BIN / "dcproxy", "-c", ini, "-p", "0"], tmp_path / "log", env=env) as server:
        wait_until(lambda: server.log.read_text().count(line) == 1, "the line")
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.log.read_text().count(line) == 2, "the line after a reload")
    assert "pass-word" not in server.log.read_text()
