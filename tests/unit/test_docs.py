"""The documentation agrees with the code and with itself."""

import ast
import json
import logging
import pkgutil
import re
import tomllib
from collections import defaultdict
from configparser import ConfigParser
from dataclasses import fields

import pytest

from dcproxy.deltacloud.errors import RETRY_AFTER
from dcproxy.deltacloud.negotiation import FORMATS
from dcproxy.deltacloud.parameters import MAX_BODY_BYTES
from dcproxy.deltacloud.protocol import COLLECTIONS
from dcproxy.deltacloud.responses import HEADERS
from dcproxy.deltacloud.routes import ROUTES
from dcproxy.ec2.errors import EXPIRED_CODES, EC2Error, Outcome
from dcproxy.ec2.session import ACTIONS
from dcproxy.operations import translation
from dcproxy.operations.storage_volumes import MAX_CAPACITY
from dcproxy.request_log import FIELDS
from dcproxy.server.cli import main
from dcproxy.server.logs import JsonLineFormatter
from dcproxy.server.metrics import get_metrics
from dcproxy.settings import SettingError, Settings, from_options
from tests.support.markdown import (
    ROOT,
    anchors,
    code_blocks,
    code_spans,
    links,
    pages,
    read_page,
    table,
    without_code_blocks,
)

PACKAGE = ROOT / "dcproxy"
PROXY_INI = read_page("proxy.ini")
OPTIONS = [declaration.name for declaration in fields(Settings)]

API = read_page("docs/api.md")
ARCHITECTURE = read_page("docs/architecture.md")
CONFIGURATION = read_page("docs/configuration.md")
CONTRIBUTING = read_page("CONTRIBUTING.md")
OBSERVABILITY = read_page("docs/observability.md")

# The changelog names what earlier releases had.
CURRENT_PAGES = [page for page in pages() if page != "CHANGELOG.md"]

MAX_SCREENSHOT_BYTES = 100_000

# Dotted names below dcproxy that are no Python objects: the logger of requests.
LOGGERS = {"dcproxy.requests"}

# What CONTRIBUTING.md names as an example.
EXAMPLE_PATHS = {"dcproxy/operations/things.py"}


# Options


def test_option_table_equals_the_declarations():
    assert table(CONFIGURATION, "option", "takes", "default", "description") == [
        {
            "option": f"`{declaration.name}`",
            "takes": declaration.metadata["type"].allowed,
            "default": default_text(declaration.default),
            "description": declaration.metadata["description"],
        }
        for declaration in fields(Settings)
    ]


def default_text(default):
    if default is None or default == ():
        return "unset"
    if isinstance(default, tuple):
        return f"`{', '.join(default)}`"
    if isinstance(default, bool):
        return "`on`" if default else "`off`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


@pytest.mark.parametrize("option", OPTIONS)
def test_option_is_in_proxy_ini_with_a_comment_before_it(option):
    [block] = [
        block for block in PROXY_INI.split("\n\n") if re.search(rf"(?m)^#?{option} = ", block)
    ]
    assert block.startswith("# ")


def test_values_of_proxy_ini_are_allowed_and_the_defaults():
    parser = ConfigParser()
    parser.read_string(PROXY_INI)
    options = dict(parser["app:main"])
    del options["use"]
    assert from_options(options) == Settings()


def test_values_in_comments_of_proxy_ini_are_allowed():
    examples = dict(re.findall(r"(?m)^#(\w+) = (.*)$", PROXY_INI))
    from_options({name: text for name, text in examples.items() if name in OPTIONS})


@pytest.mark.parametrize(
    "text",
    [
        block.text
        for page in pages()
        for block in code_blocks(read_page(page))
        if block.language == "ini"
    ],
)
def test_options_of_an_example_are_allowed(text):
    parser = ConfigParser(interpolation=None)
    parser.read_string(text.replace("%(here)s", "/srv/dcproxy"))  # Paste's folder of the file
    for section in parser.values():
        if section.get("use") == "egg:dcproxy":
            from_options({name: value for name, value in section.items() if name != "use"})


def test_example_of_a_wrong_option_is_its_message():
    [quoted] = re.findall(r"(?m)^dcproxy: error: \S+/proxy\.ini: (.*)$", CONFIGURATION)
    name, value = re.search(r"option (\w+) = '(.*?)'", quoted).groups()
    with pytest.raises(SettingError) as caught:
        from_options({name: value})
    assert quoted == str(caught.value)


def test_table_of_the_commands_options_equals_its_help(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["--help"])
    helped = {}
    # A long option has its help text on the next line.
    help_text = re.sub(r"\n {20,}", "  ", capsys.readouterr().out)
    for line in re.findall(r"(?m)^  (-.*)$", help_text):
        syntax, _, meaning = line.partition("  ")
        default = re.search(r"\(default: (.*)\)", meaning)
        helped[tuple(re.findall(r"(?<!\S)--?[A-Za-z-]+", syntax))] = default and default[1]
    documented = {}
    for row in table(CONFIGURATION, "option", "meaning", "default"):
        default = code_spans(row["default"])
        documented[tuple(code_spans(row["option"]))] = default[0] if default else None
    assert documented == helped


# The API


def test_address_table_equals_the_routes():
    documented = []
    for row in table(API, "address", "methods", "response"):
        is_public = "needs no credentials" in row["response"]
        for named in code_spans(row["address"]):
            address = re.sub(":[a-z]+", ":id", named)
            documented += [(method, address, is_public) for method in row["methods"].split(", ")]
    assert sorted(documented) == sorted(
        (route.method, re.sub("<.*>", ":id", route.path), route.is_public) for route in ROUTES
    )


@pytest.mark.parametrize("name", COLLECTIONS)
def test_operations_that_the_api_documents_are_those_of_the_routes(name):
    of_forms = {"new", "destroy_by_post"}
    handlers = [route.handler.split(".") for route in ROUTES]
    operations = [function for module, function in handlers if module == name]
    documented = {operation.name for operation in COLLECTIONS[name].operations}
    assert documented == set(operations) - of_forms


def test_header_table_has_the_headers_of_every_response():
    documented = {
        header: code_spans(row["of the response"])[:1]
        for row in table(API, "header", "of the response")
        for header in code_spans(row["header"])
    }
    assert {header: [value] for header, value in HEADERS.items()}.items() <= documented.items()


def test_status_table_names_the_error_codes_of_ec2():
    rows = defaultdict(str)
    for row in table(API, "status", "cause"):
        rows[row["status"]] += row["cause"]
    assert set(code_spans(rows["401"])) == {*translation._NOT_AUTHENTICATED, "AuthFailure"}
    for status in ("401", "404"):
        for code in code_spans(rows[status]):
            # A star stands for the first part of the code.
            full_code = code.replace("*", "InvalidSnapshot")
            error = EC2Error("No.", Outcome.REFUSED, code=full_code, http_status=int(status))
            assert translation.api_error(error).status == int(status)
    assert {*code_spans(rows["502"])} >= {*EXPIRED_CODES, *translation._RETRY_AFTER}


def test_header_table_has_the_seconds_of_retry_after():
    [text] = [
        row["of the response"]
        for row in table(API, "header", "of the response")
        if row["header"] == "`Retry-After`"
    ]
    named = {int(number) for number in re.findall(r"\b\d+", text)} - {502}
    assert named == {RETRY_AFTER, *translation._RETRY_AFTER.values()}


def test_limits_of_parameters_are_those_of_the_code():
    assert f"at most {MAX_BODY_BYTES:,} bytes" in API
    assert f"from 1 to {MAX_CAPACITY}." in API


def test_format_table_has_all_formats():
    by_parameter, by_accept = table(API, "selected by", "XML", "JSON", "HTML")
    assert [code_spans(by_parameter[column])[0] for column in ("XML", "JSON", "HTML")] == [*FORMATS]
    for column, format in zip(("XML", "JSON", "HTML"), FORMATS.values(), strict=True):
        assert code_spans(by_accept[column])[0] == format.media_type


# Metrics and logs


def test_metrics_table_equals_the_metrics():
    declared = []
    for metric in vars(get_metrics()).values():
        [description] = metric.describe()
        declared.append(
            {
                "metric": f"`{description.name}{'_total' * (description.type == 'counter')}`",
                "type": description.type,
                "labels": ", ".join(f"`{label}`" for label in metric._labelnames),
                "meaning": description.documentation,
            }
        )
    assert table(OBSERVABILITY, "metric", "type", "labels", "meaning") == declared


def test_label_table_has_the_labels_and_their_values():
    documented = {
        row["label"].strip("`"): set(code_spans(row["values"]))
        for row in table(OBSERVABILITY, "label", "values")
    }
    labels = {label for metric in vars(get_metrics()).values() for label in metric._labelnames}
    assert documented.keys() == labels - {"version"}
    operations = {
        route.handler for route in ROUTES if route.handler.startswith("storage_snapshots.")
    }
    others = {"storage_volumes.attach", "storage_volumes.detach", "entry_point.show", "none"}
    assert documented["operation"] == operations | others
    assert documented["action"] == set(ACTIONS)
    assert documented["result"] == {"ok", "refused", "throttled", "failed"}
    assert documented["limit"] == {"key", "worker"}


def test_alerts_use_documented_metrics():
    metrics = {row["metric"] for row in table(OBSERVABILITY, "metric", "type", "labels", "meaning")}
    alerts = table(OBSERVABILITY, "expression", "meaning")
    used = {f"`{re.search('dcproxy_[a-z0-9_]+', row['expression'])[0]}`" for row in alerts}
    assert used <= metrics


def test_runbook_has_every_alert_and_names_fields_of_the_log():
    rows = table(read_page("docs/runbook.md"), "alert", "in the log", "action")
    alerts = re.findall(r"(?m)alert: (\w+)", read_page("deploy/prometheus-rules.yml"))
    assert [code_spans(row["alert"]) for row in rows] == [
        [alert] for alert in dict.fromkeys(alerts)
    ]
    named = {name for row in rows for name in code_spans(row["in the log"]) if name.isidentifier()}
    named |= set(re.findall(r'"(\w+)": ', read_page("docs/runbook.md")))
    assert named <= set(log_fields())


def log_fields():
    return [
        name
        for row in table(OBSERVABILITY, "field", "content")
        for name in code_spans(row["field"])
    ]


def test_log_field_table_equals_the_fields_of_a_line():
    record = logging.makeLogRecord(dict.fromkeys(FIELDS, "value"))
    try:
        raise ValueError
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    assert log_fields() == list(json.loads(JsonLineFormatter().format(record)))


def test_example_of_a_log_line_has_documented_fields_in_their_order():
    [line] = [block.text for block in code_blocks(OBSERVABILITY) if block.language == "json"]
    example = list(json.loads(line))
    assert example == [name for name in log_fields() if name in example]


# Messages


def quoted_messages():
    """Find the texts in backticks that read as sentences, not as code."""
    for quoted in code_spans(without_code_blocks(read_page("docs/troubleshooting.md"))):
        words = quoted.split()
        if len(words) >= 3 and sum(word.strip(":,.").isalpha() for word in words) >= 2:
            yield quoted


MESSAGES = sorted(set(quoted_messages()))


@pytest.fixture(scope="module")
def literals():
    """All literal texts of the package, the fixed parts of its f-strings among them."""
    return [
        node.value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.parametrize("message", MESSAGES)
def test_quoted_message_is_in_the_source(message, literals):
    """The ellipsis in a quoted message stands for a part that varies."""
    fixed_parts = filter(None, (part.strip() for part in message.split("…")))
    assert [part for part in fixed_parts if not is_composed_of(part, literals)] == []


def is_composed_of(text, literals):
    """Tell whether a text is in a literal, or begins in one and goes on in others.

    At least two words of it are in each.
    """
    if any(text in literal for literal in literals):
        return True
    words = text.split(" ")
    return any(
        any(" ".join(words[:n]) in literal for literal in literals)
        and is_composed_of(" ".join(words[n:]), literals)
        for n in range(2, len(words) - 1)
    )


# Names of files and modules


@pytest.mark.parametrize("page", CURRENT_PAGES)
def test_named_paths_exist(page):
    named = {
        span
        for span in code_spans(without_code_blocks(read_page(page)))
        if re.match(r"(dcproxy|deploy|docs|tests)/[\w./@-]*$", span)
    }
    assert [path for path in named - EXAMPLE_PATHS if not (ROOT / path).exists()] == []


def test_guarantees_name_their_condition_and_their_tests():
    rows = table(read_page("docs/guarantees.md"), "guarantee", "condition", "verified by")
    assert rows
    for row in rows:
        assert row["condition"], row["guarantee"]
        tests = re.findall(r"\[`(tests/\w+/test_\w+\.py)`\]\(\.\./\1\)", row["verified by"])
        assert tests, row["guarantee"]
        assert all((ROOT / test).is_file() for test in tests)


def test_architecture_names_existing_modules():
    named = {
        span
        for span in code_spans(without_code_blocks(ARCHITECTURE))
        if re.fullmatch(r"[\w/]+(\.py|/)", span)
    }
    assert len(named) > 20
    assert [path for path in named if not (PACKAGE / path).exists()] == []


def test_package_layout_equals_the_package():
    [layout] = [block.text for block in code_blocks(ARCHITECTURE) if block.language == "text"]
    folders = {}
    documented = set()
    for line in layout.splitlines():
        indentation = len(line) - len(line.lstrip())
        parent = folders.get(indentation - 2, "")
        for name in re.match(r"(?:, |[\w.]+\.py|\w+/)+", line.lstrip())[0].split(", "):
            documented.add(parent + name)
            folders[indentation] = parent + name
    actual = {
        f"{path.relative_to(ROOT)}{'/' * path.is_dir()}"
        for path in [PACKAGE, *PACKAGE.rglob("*")]
        if path.suffix == ".py" or path.is_dir()
    }
    ignored = re.compile(r".*(/__init__\.py|__pycache__/)$")
    assert documented == {path for path in actual if not ignored.match(path)}


def test_layer_table_has_all_parts_of_the_package():
    documented = [
        layer
        for row in table(ARCHITECTURE, "layer", "may import")
        for layer in code_spans(row["layer"])
    ]
    parts = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert sorted(documented) == sorted(parts - {"__init__"})


@pytest.mark.parametrize("layer", ["operations", "auth", "deltacloud", "ec2", "server"])
def test_layer_table_equals_the_import_contracts(layer):
    """A span with a dot that begins with the layer itself is a module, for which the next hold."""
    rows = table(ARCHITECTURE, "layer", "may import")
    [cell] = [row["may import"] for row in rows if row["layer"] == f"`{layer}`"]
    documented, importer = set(), layer
    for span in code_spans(cell):
        if span.startswith(f"{layer}."):
            importer = span
        else:
            documented.add((importer, span))
    contracts = tomllib.loads(read_page("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    [allowed] = [contract["ignore_imports"] for contract in contracts if contract["id"] == layer]
    pairs = (text.replace("dcproxy.", "").replace(".**", "").split(" -> ") for text in allowed)
    assert documented == set(map(tuple, pairs))


@pytest.mark.parametrize("page", [*CURRENT_PAGES, "proxy.ini"])
def test_dotted_names_exist(page):
    for name in set(re.findall(r"(?<![\w./:@-])dcproxy(?:\.[A-Za-z_]+)+", read_page(page))):
        if name not in LOGGERS and not name.endswith(".service"):
            pkgutil.resolve_name(name)


def test_session_table_equals_the_sessions_of_nox():
    tree = ast.parse(read_page("noxfile.py"))
    sessions = {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    rows = table(CONTRIBUTING, "session", "what it does")
    assert {row["session"].strip("`").removeprefix("nox -s ") for row in rows} == sessions


def test_folder_table_equals_the_folders_of_tests():
    folders = {
        f"`tests/{path.name}`"
        for path in (ROOT / "tests").iterdir()
        if (path / "__init__.py").exists()
    }
    rows = table(CONTRIBUTING, "folder", "contents", "marker")
    assert {row["folder"] for row in rows} == folders


# Links


@pytest.mark.parametrize("page", pages())
def test_links_resolve(page):
    broken = []
    for target in links(read_page(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / path if path else ROOT / page
        if not linked.exists() or (anchor and anchor not in anchors(linked.read_text())):
            broken.append(target)
    assert broken == []


def test_index_links_every_page():
    linked = set(links(read_page("docs/README.md")))
    existing = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert linked == existing | {"decisions/README.md"}


def test_decisions_have_a_status_and_the_index_names_them():
    expected = []
    for path in sorted((ROOT / "docs/decisions").glob("0*.md")):
        heading, _, status, *_ = path.read_text().splitlines()
        word = re.match(r"Status: (accepted|superseded)\b", status)
        assert word, path.name
        suffix = "" if word[1] == "accepted" else ", superseded"
        expected.append(f"- [{heading.removeprefix('# ')}]({path.name}){suffix}")
    index = read_page("docs/decisions/README.md")
    assert [line for line in index.splitlines() if line.startswith("- ")] == expected


# Figures and sizes


def test_sizes_to_operate_with_name_the_defaults():
    rows = table(read_page("docs/operating.md"), "setting", "size")
    sizes = {row["setting"].strip("`"): row["size"] for row in rows}
    assert f"per worker, {Settings().capacity};" in sizes["capacity"]
    assert sizes["deadline"].startswith(f"{Settings().deadline:g} seconds;")


def test_default_time_limit_is_the_one_of_the_options():
    [seconds] = re.findall(r"`deadline`\]\([^)]*\), (\d+) seconds", read_page("docs/guarantees.md"))
    assert float(seconds) == Settings().deadline


def test_screenshot_is_small():
    screenshot = ROOT / "docs/images/storage-snapshots.png"
    assert screenshot.stat().st_size <= MAX_SCREENSHOT_BYTES
