"""HAProxy and nginx with the files of ``deploy/``, and replicas of dcproxy behind them."""

import os
import re
import ssl
import subprocess
from contextlib import ExitStack, contextmanager
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from tests.support.certificates import make_certificate
from tests.support.programs import require_program
from tests.support.servers import (
    BIN,
    LIMIT_SECONDS,
    Server,
    free_port,
    proxy_ini,
    replaced,
    running,
    wait_until,
)

DEPLOY = Path(__file__).parents[2] / "deploy"


class Balancer(Server):
    """Listens on ``port``, and with TLS on ``tls_port``, where ``ca`` vouches for it.

    It logs its requests to ``request_log``, and has statistics on ``statistics_port``.
    """

    def __init__(self, process, log, ports, ca, request_log):
        self.tls_port, self.statistics_port = ports[1:]
        super().__init__(process, ports[0], log)
        self.ca = ca
        self.request_log = request_log

    def connect_by_tls(self):
        context = ssl.create_default_context(cafile=self.ca)
        return HTTPSConnection("127.0.0.1", self.tls_port, context=context, timeout=LIMIT_SECONDS)


@contextmanager
def haproxy(folder, ports, replace=(), old_server=None):
    """Run HAProxy with its file, only addresses and what is in ``replace`` replaced.

    ``old_server`` is the port of an old server.
    """
    program = require_program("haproxy")
    if os.geteuid() != 0:
        pytest.skip("needs root: the file has HAProxy give up its rights")
    ca, key, signed = make_certificate(folder)
    both = folder / "haproxy.pem"
    both.write_text(signed.read_text() + key.read_text())
    own = [free_port() for _ in range(3)]
    env = os.environ | {
        "PLAIN_ADDRESS": f"127.0.0.1:{own[0]}",
        "TLS_ADDRESS": f"127.0.0.1:{own[1]}",
        "STATISTICS": f"127.0.0.1:{own[2]}",
        "CERTIFICATE": str(both),
        "REPLICA_1": f"127.0.0.1:{ports[0]}",
        "REPLICA_2": f"127.0.0.1:{ports[1]}",
    }
    if old_server:
        env["OLD_SERVER"] = f"127.0.0.1:{old_server}"
    configuration = folder / "haproxy.cfg"
    configuration.write_text(replaced((DEPLOY / "haproxy.cfg").read_text(), *replace))
    command = [program, "-db", "-f", configuration]
    with _balancer(command, folder, own, ca, folder / "balancer.log", env) as balancer:
        yield balancer


@contextmanager
def nginx(folder, ports, replace=(), old_server=None):
    """Run nginx with its files, as ``haproxy``."""
    program = require_program("nginx")
    ca, key, signed = make_certificate(folder)
    own = [free_port() for _ in range(3)]
    request_log = folder / "requests.log"
    site = replaced(
        (DEPLOY / "nginx.conf").read_text(),
        ("listen 80 ", f"listen 127.0.0.1:{own[0]} "),
        ("listen 443 ", f"listen 127.0.0.1:{own[1]} "),
        ("listen 127.0.0.1:8404;", f"listen 127.0.0.1:{own[2]};"),
        ("/var/log/nginx/dcproxy.log", request_log),
        ("/var/log/nginx/dcproxy-error.log", folder / "errors.log"),
        ("/etc/nginx/cloud.example.org.crt", signed),
        ("/etc/nginx/cloud.example.org.key", key),
        ("server 127.0.0.1:3001 ", f"server 127.0.0.1:{ports[0]} "),
        ("server 127.0.0.1:3002 ", f"server 127.0.0.1:{ports[1]} "),
        *replace,
    )
    if old_server:
        site = re.sub(r"#location ~ \^ .*?#\}", _uncommented, site, flags=re.DOTALL)
        maps = (DEPLOY / "nginx-old-server.conf").read_text()
        site = replaced(maps, ("127.0.0.1:3003", f"127.0.0.1:{old_server}")) + site
    (folder / "site.conf").write_text(site)
    main = folder / "nginx.conf"
    folders = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main.write_text(
        f"user root; daemon off; pid {folder}/pid; error_log stderr;\n"
        "worker_rlimit_nofile 16000; events { worker_connections 8000; }\n"
        f"http {{ access_log off; {folders} include {folder}/site.conf; }}\n"
    )
    command = [program, "-c", main, "-e", "stderr"]
    with _balancer(command, folder, own, ca, request_log, None) as balancer:
        yield balancer


def _uncommented(match):
    return re.sub(r"(?m)^( *)#", r"\1", match[0])


@contextmanager
def _balancer(command, folder, ports, ca, request_log, env):
    log = folder / "balancer.log"
    with open(log, "w") as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, env=env)
    try:
        balancer = Balancer(process, log, ports, ca, request_log)
        wait_until(lambda: _answers(balancer), "the balancer to answer")
        yield balancer
    finally:
        process.terminate()
        process.wait(LIMIT_SECONDS)


def _answers(server):
    assert server.process.poll() is None, server.log.read_text()
    try:
        server.get("/an-address-of-the-balancer-alone")
    except OSError:
        return False
    return True


class Replica:
    """One dcproxy on a port of its own, which can be stopped and started again."""

    def __init__(self, folder, endpoint):
        folder.mkdir()
        self.port = free_port()
        self.log = folder / "log"
        ini = folder / "proxy.ini"
        ini.write_text(proxy_ini(endpoint, ("trusted_proxies = 0", "trusted_proxies = 1")))
        self._command = [BIN / "dcproxy", "--config", ini, "--port", self.port]
        self._running = ExitStack()

    def start(self):
        self.server = self._running.enter_context(running(self._command, self.log))
        assert self.server.port == self.port

    def stop(self):
        """Send SIGTERM, and wait for the end."""
        self._running.close()


@contextmanager
def replicas(folder, *endpoints):
    """Run a replica for each EC2."""
    all = [Replica(folder / f"replica-{number}", url) for number, url in enumerate(endpoints)]
    try:
        for replica in all:
            replica.start()
        yield all
    finally:
        for replica in all:
            replica.stop()
