"""The files of ``deploy/``, checked by the tools that read them; and TLS by gunicorn."""

import json
import re
import shutil
import ssl
import subprocess
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from lxml import etree

from tests.support.balancers import DEPLOY
from tests.support.certificates import make_certificate
from tests.support.programs import require_program
from tests.support.servers import (
    BIN,
    LIMIT_SECONDS,
    NOWHERE,
    PROXY_INI,
    WORKER,
    free_port,
    gunicorn,
    running,
)

RULES = DEPLOY / "prometheus-rules.yml"
KINDS = ("ConfigMap", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy")
UNIT = "dcproxy@.service"
IN_THE_IMAGE = "/opt/dcproxy/bin/"


def test_unit_is_hardened():
    # The threshold is in tenths.
    command = "security --offline=true --threshold=20 --no-pager"
    result = systemd_analyze(*command.split(), DEPLOY / UNIT)
    assert result.returncode == 0, result.stdout


def test_unit_is_valid(tmp_path):
    text = (DEPLOY / UNIT).read_text().replace(IN_THE_IMAGE, f"{BIN}/")
    unit = tmp_path / "dcproxy@3001.service"
    unit.write_text(text)
    result = systemd_analyze("verify", unit)
    assert (result.returncode, result.stderr) == (0, "")


def systemd_analyze(*arguments):
    return subprocess.run(
        [require_program("systemd-analyze"), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )


@pytest.fixture
def instructions():
    """Parse the last stage of the Containerfile: instructions by name."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    stage = text[text.rindex("\nFROM ") :]
    return dict(re.findall(r"^([A-Z]+) +(.*)$", stage, re.MULTILINE))


def test_image_runs_and_its_health_check_works(instructions, tmp_path):
    shutil.copy(PROXY_INI, tmp_path)
    admin_port = free_port()

    def localised(words):
        words = [word.replace(IN_THE_IMAGE, f"{BIN}/") for word in words]
        words = [word.replace("/etc/dcproxy", str(tmp_path)) for word in words]
        return [word.replace(":3002", f":{admin_port}") for word in words]

    command = localised(json.loads(instructions["ENTRYPOINT"]) + json.loads(instructions["CMD"]))
    check = localised(json.loads(instructions["HEALTHCHECK"].partition(" CMD ")[2]))
    loopback = [word.replace("0.0.0.0", "127.0.0.1") for word in command]
    with running([*loopback, "--port", "0"], tmp_path / "log"):
        assert subprocess.run(check, timeout=LIMIT_SECONDS).returncode == 0
    result = subprocess.run(check, stderr=subprocess.DEVNULL, timeout=LIMIT_SECONDS)
    assert result.returncode != 0


def test_image_has_a_pinned_base():
    text = (DEPLOY / "Containerfile").read_text()
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}"] * 2


def test_image_does_not_run_as_root(instructions):
    user = instructions["USER"].partition(":")[0]
    assert user.isdecimal()
    assert int(user) > 0


@pytest.fixture(scope="module")
def manifests():
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    return {document["kind"]: document for document in documents}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
def test_manifest_follows_the_schema(manifests, kind, version):
    kubernetes_validate.validate(manifests[kind], version, strict=True)


def test_manifests_select_the_pods_of_the_deployment(manifests):
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels


def test_configuration_of_the_pods_matches_their_probes(manifests, tmp_path):
    pod = manifests["Deployment"]["spec"]["template"]
    [container] = pod["spec"]["containers"]
    [volume] = [volume for volume in pod["spec"]["volumes"] if "configMap" in volume]
    assert volume["configMap"]["name"] == manifests["ConfigMap"]["metadata"]["name"]
    [folder] = [
        mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == volume["name"]
    ]
    for name, text in manifests["ConfigMap"]["data"].items():
        (tmp_path / name).write_text(text)
    arguments = [word.replace(folder, str(tmp_path)) for word in container["args"]]
    arguments[arguments.index("0.0.0.0")] = "127.0.0.1"
    admin = HTTPConnection("127.0.0.1", free_port(), timeout=LIMIT_SECONDS)
    arguments += ["--port", "0", "--admin-bind", f"127.0.0.1:{admin.port}"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    configuration = "".join(manifests["ConfigMap"]["data"].values())
    assert f"admin_bind = 0.0.0.0:{ports['admin']}\n" in configuration

    def read(path):
        admin.request("GET", path)
        response = admin.getresponse()
        response.read()
        return response

    with running([BIN / "dcproxy", *arguments], tmp_path / "log"):
        for kind in ("startup", "readiness", "liveness"):
            action = container[f"{kind}Probe"]["httpGet"]
            assert action["port"] == "admin"
            assert read(action["path"]).status == 200
        annotations = pod["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == str(ports["admin"])
        scraped = read(annotations["prometheus.io/path"])
        assert scraped.headers["Content-Type"].startswith("text/plain; version=")
        admin.close()


def test_network_policy_opens_the_ports_of_the_pods(manifests):
    policy = manifests["NetworkPolicy"]["spec"]
    [container] = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    opened = {
        port["port"]: rule.get("from") for rule in policy["ingress"] for port in rule["ports"]
    }
    assert opened.keys() == {port["name"] for port in container["ports"]}
    assert opened["http"] is None
    assert opened["admin"]


def promtool(*arguments):
    return subprocess.run(
        [require_program("promtool"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )


def test_alerting_rules_are_valid():
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert result.returncode == 0, result.stdout + result.stderr


def test_alerting_rules_alert_when_they_should():
    result = promtool("test", "rules", Path(__file__).with_name("prometheus-rules-test.yml"))
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_test():
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    tests = Path(__file__).with_name("prometheus-rules-test.yml").read_text()
    assert alerts == set(re.findall(r"alertname: (\w+)", tests))


def test_queries_of_the_dashboard_are_valid(tmp_path):
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    expressions = [
        re.sub(r"\$__(rate_interval|range)", "5m", target["expr"])
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]
    rules = [{"record": f"panel{n}", "expr": text} for n, text in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    result = promtool("check", "rules", file)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("by", ["dcproxy", "gunicorn"])
def test_gunicorn_serves_tls(tmp_path, by):
    ca, key, signed = make_certificate(tmp_path)
    with ExitStack() as stack:
        if by == "gunicorn":
            options = ("--certfile", signed, "--keyfile", key)
            server = stack.enter_context(gunicorn(tmp_path, NOWHERE, *WORKER, *options))
        else:
            ini = tmp_path / "proxy.ini"
            files = f"workers = 2\ncertfile = {signed}\nkeyfile = {key}"
            ini.write_text(PROXY_INI.read_text().replace("workers = 2", files))
            command = [BIN / "dcproxy", "--config", ini, "--port", "0"]
            server = stack.enter_context(running(command, tmp_path / "log"))
            assert f"dcproxy listens on https://localhost:{server.port}/api" in (
                server.log.read_text()
            )
        context = ssl.create_default_context(cafile=ca)
        connection = HTTPSConnection(
            "localhost", server.port, context=context, timeout=LIMIT_SECONDS
        )
        connection.request("GET", "/api")
        links = etree.fromstring(connection.getresponse().read()).xpath("link/@href")
        connection.close()
    assert links
    assert all(link.startswith(f"https://localhost:{server.port}/api/") for link in links)
