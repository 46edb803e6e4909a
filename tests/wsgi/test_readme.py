"""What the README and proxy.ini say of options and rights is what there is."""

import json
import re
from configparser import ConfigParser
from dataclasses import fields
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from dcproxy.ec2.session import ACTIONS
from dcproxy.settings import Settings, from_options
from tests.support.application import client_of, new_application
from tests.support.package import running_moto

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROXY_INI = (ROOT / "proxy.ini").read_text()
OPTIONS = [field.name for field in fields(Settings)]

WORK = {
    "ec2:DescribeAvailabilityZones": ("GET", "/api/realms"),
    "ec2:DescribeSnapshots": ("GET", "/api/storage_snapshots"),
    "ec2:DescribeVolumes": ("GET", "/api/storage_volumes"),
    "ec2:CreateSnapshot": ("POST", "/api/storage_snapshots?volume_id={volume_id}"),
    "ec2:DeleteSnapshot": ("DELETE", "/api/storage_snapshots/{snapshot_id}"),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_option_is_in_the_readmes_table(option):
    rows = [row for row in README.splitlines() if row.startswith("| `") and row.count("|") == 5]
    [row] = [row for row in rows if f"`{option}`" in row.split("|")[1]]
    assert all(cell.strip() for cell in row.split("|")[2:5:2])


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
    assert from_options(options, Settings) == Settings()


def policy(without=()):
    [text] = re.findall(r"```json\n(\{\n  \"Version\".*?)```", README, re.DOTALL)
    document = json.loads(text)
    for statement in document["Statement"]:
        given = statement["Action"]
        actions = [given] if isinstance(given, str) else given
        statement["Action"] = [action for action in actions if action not in without]
    return document


def test_policy_allows_what_is_called_and_the_tag_of_a_create():
    allowed = [action for statement in policy()["Statement"] for action in statement["Action"]]
    called = {f"ec2:{action}" for action in ACTIONS}
    assert sorted(allowed) == sorted(called | {"ec2:CreateTags"})


@pytest.fixture(scope="module")
def users(module_monkeypatch):
    """moto with its IAM, where somebody has the README's policy, others lack an action of it."""
    # Calls of the fixture come from nobody: as many as there are.
    module_monkeypatch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", str(2 + 3 * (len(WORK) + 1)))
    with running_moto() as url:
        region = {"region_name": "us-east-1", "endpoint_url": url}
        keys = {"aws_access_key_id": "nobody", "aws_secret_access_key": "secret"}
        once = Config(retries={"total_max_attempts": 1})
        ec2 = boto3.client("ec2", **region, **keys, config=once)
        iam = boto3.client("iam", **region, **keys, config=once)
        volume_id = ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)["VolumeId"]
        snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
        callers = {}
        for lacking in (None, *WORK):
            name = f"without-{lacking}".replace(":", "-")
            iam.create_user(UserName=name)
            document = policy(without=[lacking])
            for statement in document["Statement"]:
                # moto's IAM knows no resources of EC2.
                statement["Resource"] = "*"
            iam.put_user_policy(
                UserName=name, PolicyName="readme", PolicyDocument=json.dumps(document)
            )
            key = iam.create_access_key(UserName=name)["AccessKey"]
            callers[lacking] = (key["AccessKeyId"], key["SecretAccessKey"])

        def work(action, lacking):
            client = client_of(new_application(ec2_endpoint_url=url), callers[lacking])
            method, address = WORK[action]
            address = address.format(volume_id=volume_id, snapshot_id=snapshot_id)
            return client.request(address, method=method, status="*").status_int

        yield work


@pytest.fixture(scope="module")
def module_monkeypatch():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch


@pytest.mark.parametrize("action", WORK)
def test_policy_is_enough_and_each_call_needs_its_action(users, action):
    assert users(action, lacking=action) == 403
    assert users(action, lacking=None) in (200, 201, 204)
