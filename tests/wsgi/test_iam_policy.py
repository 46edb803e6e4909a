"""The IAM policy in ``docs/migration.md`` allows what dcproxy calls, and no more."""

import json

import boto3
import pytest
from botocore.config import Config

from tests.support.application import client_of, new_application
from tests.support.markdown import code_blocks, code_spans, read_page, table
from tests.support.package import ACTIONS, running_moto

[POLICY] = [
    block.text for block in code_blocks(read_page("docs/migration.md")) if block.language == "json"
]

REQUESTS = {
    "ec2:DescribeAvailabilityZones": ("GET", "/api/realms"),
    "ec2:DescribeSnapshots": ("GET", "/api/storage_snapshots"),
    "ec2:DescribeVolumes": ("GET", "/api/storage_volumes"),
    "ec2:CreateSnapshot": ("POST", "/api/storage_snapshots?volume_id={volume_id}"),
    "ec2:DeleteSnapshot": ("DELETE", "/api/storage_snapshots/{snapshot_id}"),
}


def policy(without=None):
    """Give the documented policy, without one of its actions."""
    document = json.loads(POLICY)
    for statement in document["Statement"]:
        given = statement["Action"]
        actions = [given] if isinstance(given, str) else given
        statement["Action"] = [action for action in actions if action != without]
    return document


def test_policy_allows_the_actions_in_use_and_the_tag_of_a_create():
    allowed = [action for statement in policy()["Statement"] for action in statement["Action"]]
    called = {f"ec2:{action}" for action in ACTIONS}
    assert sorted(allowed) == sorted(called | {"ec2:CreateTags"})


def test_table_says_what_each_action_is_needed_for():
    rows = table(read_page("docs/migration.md"), "action", "needed for")
    named = [action for row in rows for action in code_spans(row["action"])]
    assert set(named) == {action for s in policy()["Statement"] for action in s["Action"]}


@pytest.fixture(scope="module")
def response_to(module_monkeypatch):
    """Run moto with its IAM, where one user has the policy and each other one lacks an action.

    Gives a function: the response to the request that needs ``action``, of the user who lacks
    ``lacking``.
    """
    # The calls of this fixture are not authorised: moto needs their exact number.
    module_monkeypatch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", str(2 + 3 * (len(REQUESTS) + 1)))
    with running_moto() as url:
        region = {"region_name": "us-east-1", "endpoint_url": url}
        keys = {"aws_access_key_id": "nobody", "aws_secret_access_key": "secret"}
        once = Config(retries={"total_max_attempts": 1})
        ec2 = boto3.client("ec2", **region, **keys, config=once)
        iam = boto3.client("iam", **region, **keys, config=once)
        volume_id = ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)["VolumeId"]
        snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
        callers = {lacking: user_without(iam, lacking) for lacking in (None, *REQUESTS)}

        def response(action, lacking):
            client = client_of(new_application(ec2_endpoint_url=url), callers[lacking])
            method, address = REQUESTS[action]
            address = address.format(volume_id=volume_id, snapshot_id=snapshot_id)
            return client.request(address, method=method, status="*")

        yield response


def user_without(iam, action):
    """Create a user who has the policy without an action, and give the access key."""
    name = f"without-{action}".replace(":", "-")
    iam.create_user(UserName=name)
    document = policy(without=action)
    for statement in document["Statement"]:
        # moto's IAM does not support resources of EC2.
        statement["Resource"] = "*"
    iam.put_user_policy(UserName=name, PolicyName="documented", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.fixture(scope="module")
def module_monkeypatch():
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch


@pytest.mark.parametrize("action", REQUESTS)
def test_policy_suffices_and_each_request_needs_its_action(response_to, action):
    denied = response_to(action, lacking=action)
    assert denied.status_int == 502
    assert "AccessDenied: " in denied.lxml.findtext("message")
    assert response_to(action, lacking=None).status_int in (200, 201, 204)
