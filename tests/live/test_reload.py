"""The running command: metrics of all workers, reloads, and invalid files."""

import os
import re
import signal
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.addresses import SNAPSHOTS
from tests.support.callers import AUTHORIZATION
from tests.support.certificates import make_certificate
from tests.support.ec2_responses import snapshot_item, snapshots_page
from tests.support.launcher import ANEW
from tests.support.responders import always
from tests.support.servers import (
    BIN,
    LIMIT_SECONDS,
    NOWHERE,
    PROXY_INI,
    WORKER,
    children,
    free_port,
    gunicorn,
    replaced,
    running,
    wait_until,
)

METRICS_FOLDERS = "dcproxy-metrics-*"
REQUESTS = ("dcproxy_requests_total", ("entry_point.show", "ok", "200"))


@pytest.fixture
def ini(tmp_path):
    file = tmp_path / "proxy.ini"
    file.write_text(PROXY_INI.read_text())
    return file


def command_with(ini):
    return [BIN / "dcproxy", "--config", ini, "--port", "0"]


@pytest.fixture
def server(ini, tmp_path):
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with running(command_with(ini), tmp_path / "log", env=env) as server:
        wait_until(lambda: initialised_workers(server.process.pid) == 2, "both workers")
        yield server


def initialised_workers(master):
    """Count the workers that have loaded the application: until then they block signals to stop."""
    return sum(not blocks_sigterm(pid) for pid in children(master))


def blocks_sigterm(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:  # it has just ended
        return True
    blocked = int(re.search(r"SigBlk:\s+(\w+)", status)[1], 16)
    return bool(blocked & 1 << (signal.SIGTERM - 1))


def metric(server, name, labels):
    _, body = server.get("/metrics")
    samples = [
        sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if (sample.name, tuple(sample.labels.values())) == (name, labels)
    ]
    return sum(samples)


def replace(ini, old, new):
    ini.write_text(replaced(ini.read_text(), (old, new)))


def reload(server):
    server.process.send_signal(signal.SIGHUP)


def test_metrics_are_sums_over_all_workers(server):
    for _ in range(40):
        server.get("/api")
    assert {metric(server, *REQUESTS) for _ in range(20)} == {40}


def test_metrics_survive_their_workers(server):
    server.get("/api")
    old = children(server.process.pid)
    reload(server)
    wait_until(lambda: not set(old) & set(children(server.process.pid)), "the old workers to end")
    server.get("/api")
    assert metric(server, *REQUESTS) == 2


def test_stop_during_startup_reaches_all_workers(ini, tmp_path):
    replace(ini, "workers = 2", "workers = 8")
    for number in range(3):
        log = tmp_path / f"log-{number}"
        with running(command_with(ini), log):
            pass
        assert "Perhaps out of memory" not in log.read_text()  # gunicorn's word for a SIGKILL


def test_metrics_files_are_removed_on_stop(ini, tmp_path):
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with running(command_with(ini), tmp_path / "log", env=env):
        assert list(tmp_path.glob(f"{METRICS_FOLDERS}/*.db"))
    assert not list(tmp_path.glob(METRICS_FOLDERS))


def test_new_master_has_its_own_metrics(server, tmp_path):
    old = server.process.pid
    server.process.send_signal(signal.SIGUSR2)
    new = wait_until(lambda: new_master(old), "the new master")
    try:
        wait_until(lambda: initialised_workers(new) == 2, "its workers")
        server.process.terminate()
        server.process.wait(40)
        server.get("/api")
        assert metric(server, *REQUESTS) == 1
        assert len(list(tmp_path.glob(METRICS_FOLDERS))) == 1
    finally:
        os.kill(new, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{new}").exists(), "the new master to end")


def new_master(old):
    return next((pid for pid in children(old) if children(pid)), None)


def test_metrics_under_gunicorn_are_sums_with_a_multiprocess_folder(tmp_path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with gunicorn(tmp_path, NOWHERE, *WORKER, "--workers=2", env=env) as server:
        for _ in range(20):
            server.get("/api")
        assert {metric(server, *REQUESTS) for _ in range(10)} == {20}


def test_reload_applies_the_changed_file(server, ini):
    replace(ini, "health = /healthz", "health = /up")
    replace(ini, "workers = 2", "workers = 3")
    reload(server)
    wait_until(lambda: server.get("/up")[0].status == 200, "the new address")
    wait_until(lambda: initialised_workers(server.process.pid) == 3, "the third worker")


def reload_and_wait(server):
    old = set(children(server.process.pid))
    reload(server)
    wait_until(
        lambda: (
            not old & set(children(server.process.pid))
            and initialised_workers(server.process.pid) == 2
        ),
        "the new workers",
    )


def test_new_workers_continue_the_metrics_files_of_ended_ones(server, tmp_path):
    files = []
    for _ in range(2):
        server.get("/api")
        reload_and_wait(server)
        files.append({file.name for file in tmp_path.glob(f"{METRICS_FOLDERS}/gauge_*")})
    assert files[0] == files[1]
    assert metric(server, *REQUESTS) == 2


def test_reloads_do_not_leak_memory(ini, tmp_path):
    with running([*ANEW, *command_with(ini)], tmp_path / "log") as server:
        wait_until(lambda: initialised_workers(server.process.pid) == 2, "both workers")
        reload_and_wait(server)
        before = megabytes(server.process.pid)
        for _ in range(4):
            reload_and_wait(server)
        assert megabytes(server.process.pid) < before + 30


def megabytes(master):
    """Give the proportional memory (PSS) of a master with its workers."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup") for pid in (master, *children(master))]
    sizes = [int(re.search(r"Pss:\s+(\d+)", rollup.read_text())[1]) for rollup in rollups]
    return sum(sizes) / 1024


@pytest.fixture(scope="module")
def lasting_server(tmp_path_factory):
    """Run a server with its address in its file, for reloads that change nothing."""
    folder = tmp_path_factory.mktemp("lasting")
    ini = folder / "proxy.ini"
    ini.write_text(replaced(PROXY_INI.read_text(), ("#bind = 0.0.0.0:3001", "bind = 127.0.0.1:0")))
    with running([BIN / "dcproxy", "-c", ini], folder / "log") as server:
        wait_until(lambda: initialised_workers(server.process.pid) == 2, "both workers")
        yield server


@pytest.fixture
def lasting_ini(lasting_server):
    """Give the file of the lasting server, and restore it after the test."""
    ini = lasting_server.log.with_name("proxy.ini")
    before = ini.read_text()
    yield ini
    ini.write_text(before)


def reload_in_vain(server):
    """Reload; give what the log says of the reason."""
    before = len(server.log.read_text())
    reload(server)
    return wait_until(
        lambda: re.search(
            ".*the configuration was not reloaded.*", server.log.read_text()[before:]
        ),
        "the line in the log",
    )[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("page_size = 1000", "page_size = 4", "page_size = '4' is not allowed"),
        ("workers = 2", "workers = many", "workers = 'many'"),
        ("workers = 2", "workers = 0", "workers = '0'"),
        ("worker_connections = 10000", "worker_connections = 0", "worker_connections = '0'"),
        ("graceful_timeout = 45", "threads = 0", "threads = '0'"),
        ("graceful_timeout = 45", "worker_class = nope", "worker_class = 'nope'"),
        (
            "#certfile = /etc/dcproxy/",
            "certfile = /nowhere/",
            "certfile = '/nowhere/certificate.pem'",
        ),
        ("[app:main]", "app:main", "is in no [section]"),
        ("[app:main]", "[app:main]\npaste.app_factory = sys:exit\n[app:other]", "'__file__': "),
    ],
)
def test_reload_of_an_invalid_file_changes_nothing_and_logs_the_reason(
    lasting_server, lasting_ini, old, new, message
):
    server, ini = lasting_server, lasting_ini
    workers = children(server.process.pid)
    ini.write_text(ini.read_text().partition("\n\n")[2])  # without the comment before a section
    replace(ini, old, new)
    assert message in reload_in_vain(server)
    assert server.get("/api")[0].status == 200
    assert children(server.process.pid) == workers


def kill_a_worker(server):
    """Kill one of the workers, and wait for another in its place."""
    before = set(children(server.process.pid))
    os.kill(min(before), signal.SIGKILL)
    wait_until(lambda: set(children(server.process.pid)) - before, "another worker")
    wait_until(lambda: initialised_workers(server.process.pid) == 2, "both workers")


def test_wrong_file_and_a_killed_worker_change_nothing(lasting_server, lasting_ini):
    server = lasting_server
    lasting_ini.write_text("[app:main\nuse = egg:dcp")
    kill_a_worker(server)
    reload_in_vain(server)
    kill_a_worker(server)
    assert {server.get("/api")[0].status for _ in range(10)} == {200}


@pytest.fixture
def tls_server(ini, tmp_path):
    _, key, certificate = make_certificate(tmp_path)
    command = [*command_with(ini), "-k", key, "-C", certificate]
    with running(command, tmp_path / "log") as server:
        wait_until(lambda: initialised_workers(server.process.pid) == 2, "both workers")
        yield server, certificate


def status_over_tls(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    url = f"https://127.0.0.1:{port}/api"
    with urllib.request.urlopen(url, context=context, timeout=LIMIT_SECONDS) as response:
        return response.status


def test_half_written_certificate_and_a_killed_worker_change_nothing(tls_server):
    server, certificate = tls_server
    text = certificate.read_text()
    certificate.write_text(text[: len(text) // 2])
    for _ in range(2):  # none remains that has read the whole file
        kill_a_worker(server)
    reload(server)
    wait_until(lambda: "option certfile" in server.log.read_text(), "the line in the log")
    assert {status_over_tls(server.port) for _ in range(10)} == {200}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bind = 127.0.0.1:{used}", "Address already in use"),
        ("bind = 192.0.2.1:3001", "Cannot assign requested address"),
        ("errorlog = /nowhere/log", "/nowhere/log"),
        ("accesslog = /nowhere/log", "/nowhere/log"),
        ("pidfile = /nowhere/pid", "/nowhere"),
        ("worker_tmp_dir = /nowhere", "/nowhere"),
        ("errorlog = {pipe}", "within 10 seconds"),
        ("certfile = {pipe}\nkeyfile = {pipe}", "within 10 seconds"),
    ],
)
def test_reload_of_what_cannot_be_had_changes_nothing(
    lasting_server, lasting_ini, tmp_path, line, message
):
    server, ini = lasting_server, lasting_ini
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with socket.create_server(("127.0.0.1", 0)) as used:
        workers = children(server.process.pid)
        if line.startswith("bind"):
            ini.write_text(ini.read_text().replace("bind = 127.0.0.1:0\n", ""))
        line = line.format(used=used.getsockname()[1], pipe=pipe)
        replace(ini, "graceful_timeout = 45", f"graceful_timeout = 45\n{line}")
        assert message in reload_in_vain(server)
        assert server.get("/api")[0].status == 200
        assert children(server.process.pid) == workers
        kill_a_worker(server)
        assert server.get("/api")[0].status == 200


def test_loggers_that_cannot_be_set_up_change_nothing(lasting_server, lasting_ini):
    server = lasting_server
    loggers = "[loggers]\nkeys = root\n[logger_root]\nhandlers = own\n[handlers]\nkeys = own\n"
    handler = "[handler_own]\nclass = FileHandler\nargs = ('/nowhere/log',)\n"
    with lasting_ini.open("a") as file:
        file.write(f"\n{loggers}{handler}[formatters]\nkeys =\n")
    reload_in_vain(server)
    before = server.log.read_text().count("entry_point.show")
    assert server.get("/api")[0].status == 200
    wait_until(
        lambda: server.log.read_text().count("entry_point.show") == before + 1, "the log line"
    )


def test_log_file_that_cannot_be_reopened_does_not_end_the_server(ini, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    replace(ini, "graceful_timeout = 45", f"graceful_timeout = 45\naccesslog = {folder}/access")
    with running(command_with(ini), tmp_path / "log") as server:
        wait_until(lambda: initialised_workers(server.process.pid) == 2, "both workers")
        folder.rename(tmp_path / "moved")
        server.process.send_signal(signal.SIGUSR1)
        lines = "the log files were not reopened"
        wait_until(lambda: server.log.read_text().count(lines) == 3, "the lines in the log")
        assert server.get("/api")[0].status == 200


def test_reload_moves_to_another_address(ini, tmp_path):
    port = free_port()
    replace(ini, "#bind = 0.0.0.0:3001", "bind = 127.0.0.1:0")
    with running([BIN / "dcproxy", "-c", ini], tmp_path / "log") as server:
        old = server.port
        replace(ini, "bind = 127.0.0.1:0", f"bind = 127.0.0.1:{port}")
        reload(server)
        server.port = port
        wait_until(lambda: is_listening(port), "the new address")
        assert server.get("/api")[0].status == 200
        wait_until(lambda: not is_listening(old), "the old address to close")
        for wrong in (f", 127.0.0.1:{port}", "\nreuse_port = true"):
            replace(ini, f"bind = 127.0.0.1:{port}", f"bind = 127.0.0.1:{port}{wrong}")
            assert "Address already in use" in reload_in_vain(server)
            assert server.get("/api")[0].status == 200
            replace(ini, wrong, "")


def is_listening(port):
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


COUNTED = """
import os
from dcproxy.app import app_factory

def factory(global_conf, **options):
    with open({file!r}, "a") as file:
        print(os.getpid(), file=file)
    return app_factory(global_conf, **options)
"""


def test_master_loads_the_application_once_and_workers_never(ini, tmp_path):
    loaded = tmp_path / "loaded"
    (tmp_path / "counted.py").write_text(COUNTED.format(file=str(loaded)))
    replace(ini, "use = egg:dcproxy\n", "paste.app_factory = counted:factory\n")
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    with running(command_with(ini), tmp_path / "log", env=env) as server:
        wait_until(lambda: initialised_workers(server.process.pid) == 2, "both workers")
        reload_and_wait(server)
        kill_a_worker(server)
        assert loaded.read_text().split() == [str(server.process.pid)] * 2


@pytest.mark.parametrize("resolver", ["thread", "ares"])
def test_workers_call_ec2_with_the_application_of_the_master(
    ini, tmp_path, programmed_ec2, resolver
):
    programmed_ec2.respond = always(snapshots_page(snapshot_item("snap-12345678")))
    url = programmed_ec2.url.replace("127.0.0.1", "localhost")
    replace(ini, "use = egg:dcproxy\n", f"use = egg:dcproxy\nec2_endpoint_url = {url}\n")
    env = os.environ | {"GEVENT_RESOLVER": resolver}
    with running(command_with(ini), tmp_path / "log", env=env) as server:
        wait_until(lambda: initialised_workers(server.process.pid) == 2, "both workers")
        for _ in range(2):
            headers = {"Authorization": AUTHORIZATION}
            assert {server.get(SNAPSHOTS, headers)[0].status for _ in range(10)} == {200}
            reload_and_wait(server)
