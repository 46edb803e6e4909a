"""Alerting rules and dashboard of ``deploy/``: the metrics, labels and values in them exist."""

import json
import re
from itertools import combinations

import pytest
import yaml

from dcproxy.deltacloud.routes import ROUTES
from dcproxy.ec2.session import ACTIONS
from dcproxy.server.metrics import get_metrics
from tests.support.markdown import read_page, table

RULES = [
    rule
    for group in yaml.safe_load(read_page("deploy/prometheus-rules.yml"))["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads(read_page("deploy/grafana-dashboard.json"))
EXPRESSIONS = {rule.get("alert") or rule["record"]: rule["expr"] for rule in RULES} | {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}

LABEL_VALUES = {
    "operation": {route.handler for route in ROUTES} | {"none"},
    "result": {"ok", "refused", "throttled", "failed"},
    "status": {"200", "201", "204", "401", "404", "500", "502"},
    "action": set(ACTIONS),
    "instance": {"$instance"},
    "job": {"dcproxy"},
}
OF_PROMETHEUS = {"up": set()}
"""A metric that Prometheus itself adds."""

TARGET_LABELS = {"instance", "job"}
"""Labels that Prometheus adds to each metric."""


def existing_metrics():
    """Names as they are scraped, with their labels."""
    metrics = dict(OF_PROMETHEUS)
    for metric in vars(get_metrics()).values():
        [description] = metric.describe()
        labels = set(metric._labelnames)
        if description.type == "histogram":
            metrics[f"{description.name}_bucket"] = labels | {"le"}
            metrics[f"{description.name}_count"] = metrics[f"{description.name}_sum"] = labels
        else:
            metrics[f"{description.name}{'_total' * (description.type == 'counter')}"] = labels
    return metrics


METRICS = existing_metrics()
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


def selectors(expression):
    """Find the metrics in an expression: name, and the text of its label matchers."""
    return re.findall(r"\b(dcproxy[:_][\w:]+|up)\b(?:\{([^}]*)\})?", expression)


def matchers(text):
    return re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', text)


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_metrics_and_labels_of_an_expression_exist(expression):
    found = selectors(expression)
    assert found
    grouped = {
        label.strip()
        for labels in re.findall(r"\bby \(([^)]*)\)", expression)
        for label in labels.split(",")
    }
    available = set(TARGET_LABELS)
    for name, text in found:
        if name in RECORDED:
            continue
        available |= METRICS[name]
        for label, operator, value in matchers(text):
            assert label in METRICS[name] | TARGET_LABELS
            values = LABEL_VALUES[label]
            if operator.endswith("~") and label not in TARGET_LABELS:
                pattern = value.replace("\\\\", "\\")
                assert any(re.fullmatch(pattern, each) for each in values)
            else:
                assert value in values
    assert grouped <= available


def test_labels_in_texts_are_labels_of_the_results():
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            assert used <= {label for labels in kept for label in labels.split(", ")}


def test_panels_do_not_overlap():
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )


def test_alerts_and_their_severities_are_documented():
    documented = table(read_page("docs/deployment.md"), "alert", "severity", "condition")
    assert [(row["alert"].strip("`"), row["severity"]) for row in documented] == [
        (rule["alert"], rule["labels"]["severity"]) for rule in RULES if "alert" in rule
    ]


def test_alerts_say_what_is_wrong():
    for rule in RULES:
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert rule["annotations"]["summary"].endswith(".")
