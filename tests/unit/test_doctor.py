"""The doctor finds each fault, says what to do, and changes nothing."""

import json
from dataclasses import replace
from email.utils import formatdate
from functools import partial
from time import time

import pytest
from paste.deploy import loadapp

from dcproxy import doctor
from dcproxy.ec2.session import ACTIONS
from dcproxy.settings import SettingError
from tests.support.accounts import role_profile, write_account_files
from tests.support.callers import register_caller
from tests.support.ec2_responses import error_response, snapshot_item, snapshots_page, xml_response
from tests.support.endpoints import refusing_endpoint, self_signed_endpoint, unknown_endpoint
from tests.support.iam import allows

KEY = register_caller("AKIAOFTHECALLER", "secret/of/the/caller")
TOKEN = "token.of.the/caller"
register_caller(doctor.NO_KEY.id, doctor.NO_KEY.secret)

ZONES = xml_response(
    "DescribeAvailabilityZonesResponse",
    "<availabilityZoneInfo><item><zoneName>us-east-1a</zoneName><zoneState>available</zoneState>"
    "</item></availabilityZoneInfo>",
)
ATTACHED = xml_response(
    "DescribeVolumesResponse",
    "<volumeSet><item><volumeId>vol-11111111</volumeId><size>8</size><status>in-use</status>"
    "<attachmentSet><item><volumeId>vol-11111111</volumeId><instanceId>i-11111111</instanceId>"
    "<device>/dev/sdf</device><status>attached</status></item></attachmentSet></item></volumeSet>",
)
NO_VOLUMES = xml_response("DescribeVolumesResponse", "<volumeSet></volumeSet>")
READS = {
    "DescribeAvailabilityZones": ZONES,
    "DescribeSnapshots": snapshots_page(snapshot_item("snap-11111111")),
    "DescribeVolumes": ATTACHED,
}
WRITES = set(ACTIONS) - set(READS)


class Cloud:
    """Knows DryRun as EC2 does. ``denied`` are actions that its policy does not allow."""

    def __init__(self, denied=(), reads=READS, dry_run=ACTIONS):
        self.denied, self.reads, self.dry_run = denied, reads, dry_run
        self.carried_out = []

    def __call__(self, request):
        if request.access_key_id == doctor.NO_KEY.id:
            return error_response("AuthFailure", 401, "No such key.")
        has_tags = any(name.startswith("TagSpecification") for name in request.parameters)
        if request.action in self.denied or (has_tags and "CreateTags" in self.denied):
            return error_response("UnauthorizedOperation", 403, "You are not authorized.")
        if request.parameters.get("DryRun") == "true" and request.action in self.dry_run:
            return error_response("DryRunOperation", 412, "Request would have succeeded.")
        if request.action in self.reads:
            return self.reads[request.action]
        self.carried_out.append(request.action)
        return xml_response(f"{request.action}Response", "<return>true</return>")


@pytest.fixture(autouse=True)
def callers_key(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY[1])
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@pytest.fixture
def examine(tmp_path, programmed_ec2, capsys):
    """Give a function that runs the doctor, and returns its exit code and what it wrote as JSON."""

    def run(cloud=None, url=None, account=None, **options):
        programmed_ec2.respond = cloud or Cloud()
        file = tmp_path / "proxy.ini"
        given = {"ec2_endpoint_url": url or programmed_ec2.url, "retry_attempts": 1, **options}
        lines = [f"{name} = {value}" for name, value in given.items()]
        file.write_text("\n".join(["[app:main]", "use = egg:dcproxy", *lines]))
        code = doctor.run(file, partial(loadapp, f"config:{file}"), account, as_json=True)
        written = capsys.readouterr().out
        assert KEY[1] not in written
        assert TOKEN not in written
        return code, json.loads(written)

    return run


def faults(report):
    """Give what is wrong or missing in a report, by its check."""
    return {
        finding["check"]: finding
        for finding in (*report["checks"], *report["permissions"])
        if finding["result"] in {"wrong", "missing"}
    }


def is_allowed(policy, action):
    """Tell whether a policy allows an action; tags, on what is created alone."""
    if action != "CreateTags":
        return allows(policy, f"ec2:{action}")
    kinds = {"snapshot": "CreateSnapshot", "volume": "CreateVolume"}
    assert not any(allows(policy, "ec2:CreateTags", [kind]) for kind in kinds)
    return all(allows(policy, "ec2:CreateTags", [kind], kinds[kind]) for kind in kinds)


def result_of(report, action):
    return [f["result"] for f in report["permissions"] if f["check"] == f"ec2:{action}"]


def test_key_with_all_permissions_is_right(examine):
    code, written = examine()
    [report] = written["reports"]
    assert code == 0
    assert not faults(report)
    assert {f["result"] for f in report["permissions"]} == {"allowed"}
    assert report["missing_policy"] is None
    assert "123456789012" in report["checks"][-1]["text"]


def test_every_action_in_use_is_examined_and_each_write_carries_dry_run(examine, programmed_ec2):
    cloud = Cloud()
    examine(cloud)
    assert {request.action for request in programmed_ec2.requests} == set(ACTIONS)
    writes = [request for request in programmed_ec2.requests if request.action in WRITES]
    assert {request.parameters["DryRun"] for request in writes} == {"true"}
    assert cloud.carried_out == []


def test_cloud_that_ignores_dry_run_is_sent_no_write(examine, programmed_ec2):
    code, written = examine(Cloud(dry_run=()))
    assert {request.action for request in programmed_ec2.requests} == set(READS)
    assert result_of(written["reports"][0], "DeleteVolume") == ["not checked"]
    assert code == 0


def test_cloud_that_ignores_dry_run_of_writes_is_sent_one_create(examine):
    cloud = Cloud(dry_run=set(READS))
    code, written = examine(cloud)
    assert cloud.carried_out == ["CreateSnapshot"]
    assert "undo it" in faults(written["reports"][0])["ec2:CreateSnapshot"]["note"]
    assert code == 1


def test_each_missing_permission_is_found_with_the_policy_that_allows_it(examine, tmp_path):
    keys = {action: f"AKIAWITHOUT{action.upper()}" for action in (*ACTIONS, "CreateTags")}
    profiles = {action: f"[profile {action}]\n{keys_of(keys[action])}" for action in keys}
    clouds = {keys[action]: Cloud(denied={action}) for action in keys}
    clouds[doctor.NO_KEY.id] = Cloud()
    files = write_account_files(tmp_path, profiles)
    code, written = examine(lambda request: clouds[request.access_key_id](request), **files.options)
    assert code == 1
    for report in written["reports"]:
        action = report["account"]
        assert set(faults(report)) == {f"ec2:{action}"}
        assert is_allowed(report["missing_policy"], action)
    assert len(written["reports"]) == len(keys)


def keys_of(id):
    register_caller(id, KEY[1])
    return f"aws_access_key_id = {id}\naws_secret_access_key = {KEY[1]}\n"


def test_policy_for_no_permission_has_the_tags_of_creates(examine):
    _, written = examine(Cloud(denied=WRITES))
    policy = written["reports"][0]["missing_policy"]
    allowed = {action for action in (*ACTIONS, "CreateTags") if is_allowed(policy, action)}
    assert allowed == {*WRITES, "CreateTags"}


def test_policy_names_the_partition_of_the_region(examine):
    _, written = examine(Cloud(denied={"DeleteVolume"}), provider="cn-north-1")
    [statement] = written["reports"][0]["missing_policy"]["Statement"]
    assert statement["Resource"] == ["arn:aws-cn:ec2:*:*:volume/*"]


def test_write_without_a_thing_to_ask_for_is_not_checked(examine, programmed_ec2):
    code, written = examine(Cloud(reads=READS | {"DescribeVolumes": NO_VOLUMES}))
    [report] = written["reports"]
    assert code == 0
    assert result_of(report, "CreateSnapshot") == ["not checked"]
    assert result_of(report, "DeleteSnapshot") == ["allowed"]
    assert "CreateSnapshot" not in {request.action for request in programmed_ec2.requests}


@pytest.mark.parametrize(("code", "status"), [("AuthFailure", 401), ("InvalidClientTokenId", 403)])
def test_wrong_key_is_found(examine, code, status):
    exit_code, written = examine(lambda request: error_response(code, status, "No such key."))
    [report] = written["reports"]
    assert exit_code == 1
    assert code in faults(report)["credentials"]["text"]
    assert report["permissions"] == []


def test_key_that_ec2_cannot_judge_is_not_called_right(examine):
    cloud = Cloud()
    fault = error_response("Unavailable", 503)
    _, written = examine(lambda r: fault if r.access_key_id == KEY[0] else cloud(r))
    assert "Unavailable" in faults(written["reports"][0])["credentials"]["text"]


def test_wrong_clock_is_blamed_for_a_refused_key(examine):
    message = "Signature not yet current: 20260101T000000Z is still later than 20250101T000000Z"
    _, written = examine(lambda request: error_response("SignatureDoesNotMatch", 403, message))
    assert "set the clock" in faults(written["reports"][0])["credentials"]["note"]


def test_expired_token_is_found(examine, monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    code, written = examine(lambda request: error_response("RequestExpired", 400, "Expired."))
    found = faults(written["reports"][0])
    assert code == 1
    assert "ExpiredToken" in found["credentials"]["text"]
    assert "new temporary credentials" in found["credentials"]["note"]


def test_temporary_key_without_a_token_is_found(examine, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIATEMPORARY")
    _, written = examine()
    assert "session token" in faults(written["reports"][0])["credentials"]["text"]


@pytest.mark.parametrize("offset", [3600, -120])
def test_wrong_clock_is_found(examine, offset):
    cloud, headers = Cloud(), (("Date", formatdate(time() + offset, usegmt=True)),)
    code, written = examine(lambda request: replace(cloud(request), headers=headers))
    found = faults(written["reports"][0])
    assert code == 1
    skew = float(found["clock"]["text"].split()[2])
    assert abs(skew + offset) < 10
    assert "set the clock" in found["clock"]["note"]


@pytest.mark.parametrize(
    ("endpoint", "note"),
    [
        (refusing_endpoint, "check the port"),
        (unknown_endpoint, "DNS"),
        (self_signed_endpoint, "AWS_CA_BUNDLE"),
    ],
)
def test_endpoint_that_cannot_be_reached_is_found(examine, endpoint, note):
    with endpoint() as url:
        code, written = examine(url=url)
    [report] = written["reports"]
    assert code == 1
    assert note in faults(report)["network"]["note"]
    assert [finding["check"] for finding in report["checks"]] == ["network"]


def test_response_that_is_not_of_ec2_is_found(examine):
    page = replace(ZONES, body=b"<html>Log in to the network</html>")
    _, written = examine(lambda request: page)
    assert "cannot be read" in faults(written["reports"][0])["network"]["text"]


@pytest.fixture
def two_accounts(tmp_path, sts):
    """Write the files of an account that has a role, and of one whose program gives nothing."""
    profiles = {
        "reader": role_profile("reader", sts.url),
        "writer": "[profile writer]\ncredential_process = false\nregion = eu-west-1\n",
    }
    return write_account_files(tmp_path, profiles).options


def test_each_account_is_examined_in_its_region(examine, two_accounts):
    code, written = examine(**two_accounts)
    reader, writer = written["reports"]
    assert code == 1
    assert written["right"] == 1
    assert (reader["account"], reader["region"], reader["is_right"]) == (
        "reader",
        "us-east-1",
        True,
    )
    assert (writer["account"], writer["region"]) == ("writer", "eu-west-1")
    assert "the account writer" in faults(writer)["credentials"]["text"]


def test_one_account_is_examined_alone(examine, two_accounts):
    code, written = examine(account="reader", **two_accounts)
    assert code == 0
    assert [report["account"] for report in written["reports"]] == ["reader"]


def test_unknown_account_is_an_error(examine, two_accounts):
    with pytest.raises(SettingError, match="no account nobody: reader, writer"):
        examine(account="nobody", **two_accounts)


def test_key_that_nobody_can_be_asked_for_is_an_error(examine, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SettingError, match="no key in AWS_ACCESS_KEY_ID and"):
        examine()


def test_filter_in_a_pipeline_is_examined(tmp_path, programmed_ec2, capsys):
    programmed_ec2.respond = Cloud()
    file = tmp_path / "proxy.ini"
    file.write_text(
        "[pipeline:main]\npipeline = ours theirs\n"
        f"[filter:ours]\nuse = egg:dcproxy\nec2_endpoint_url = {programmed_ec2.url}\n"
        "[app:theirs]\nuse = egg:dcproxy\nprovider = eu-west-1\n"
    )
    assert doctor.run(file, partial(loadapp, f"config:{file}"), None, as_json=False) == 0
    assert "The key of the caller in us-east-1" in capsys.readouterr().out
