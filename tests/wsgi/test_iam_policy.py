"""The IAM policy in ``docs/migration.md`` allows what dcproxy calls, and no more."""

import json

import pytest

from tests.support.application import client_of, shared_application
from tests.support.iam import RESOURCES, allows
from tests.support.markdown import code_blocks, code_spans, read_page, table
from tests.support.moto import native_client, verifying_requests
from tests.support.package import ACTIONS, builtin_models

[POLICY] = [
    block.text for block in code_blocks(read_page("docs/migration.md")) if block.language == "json"
]
READ, CREATE = [
    block.text
    for block in code_blocks(read_page("docs/accounts.md"))
    if block.language == "json" and "ec2:" in block.text
]

REQUESTS = {
    "ec2:DescribeAvailabilityZones": ("GET", "/api/realms"),
    "ec2:DescribeSnapshots": ("GET", "/api/storage_snapshots"),
    "ec2:DescribeVolumes": ("GET", "/api/storage_volumes"),
    "ec2:CreateSnapshot": ("POST", "/api/storage_snapshots?volume_id={volume_id}"),
    "ec2:CreateVolume": ("POST", "/api/storage_volumes?snapshot_id={snapshot_id}"),
    "ec2:DeleteSnapshot": ("DELETE", "/api/storage_snapshots/{snapshot_id}"),
    "ec2:AttachVolume": (
        "POST",
        "/api/storage_volumes/{volume_id}/attach?instance_id={instance_id}",
    ),
    "ec2:DetachVolume": ("POST", "/api/storage_volumes/{attached_id}/detach"),
    "ec2:DeleteVolume": ("DELETE", "/api/storage_volumes/{other_volume_id}"),
}
VOLUMES = ["ec2:CreateVolume", "ec2:AttachVolume", "ec2:DetachVolume", "ec2:DeleteVolume"]


def policy(without=()):
    """Give the documented policy, without some of its actions."""
    document = json.loads(POLICY)
    for statement in document["Statement"]:
        given = statement["Action"]
        actions = [given] if isinstance(given, str) else given
        statement["Action"] = [action for action in actions if action not in without]
    document["Statement"] = [
        statement for statement in document["Statement"] if statement["Action"]
    ]
    return document


def test_policy_allows_the_actions_in_use_and_the_tag_of_a_create():
    allowed = [action for statement in policy()["Statement"] for action in statement["Action"]]
    called = {f"ec2:{action}" for action in ACTIONS}
    assert set(allowed) == called | {"ec2:CreateTags"}


def test_table_says_what_each_action_is_needed_for():
    rows = table(read_page("docs/migration.md"), "action", "needed for")
    named = [action for row in rows for action in code_spans(row["action"])]
    assert set(named) == {action for s in policy()["Statement"] for action in s["Action"]}


@pytest.fixture(scope="module")
def response_to(moto_url, ec2):
    """Arrange users in moto's IAM: one has the policy, and each other one lacks actions.

    Gives a function: the response to the request that needs ``action``, of the user who lacks
    the actions ``lacking``.
    """
    lacks = [(), tuple(VOLUMES), *((action,) for action in REQUESTS)]
    image_id = ec2.register_image(Name="tests")["ImageId"]
    [instance] = ec2.run_instances(ImageId=image_id, MinCount=1, MaxCount=1)["Instances"]
    ids = {
        name: ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)["VolumeId"]
        for name in ("volume_id", "attached_id", "other_volume_id")
    }
    ids["instance_id"] = instance["InstanceId"]
    ids["snapshot_id"] = ec2.create_snapshot(VolumeId=ids["volume_id"])["SnapshotId"]
    ec2.attach_volume(VolumeId=ids["attached_id"], InstanceId=ids["instance_id"], Device="/dev/sdf")
    iam = native_client(moto_url, service="iam")
    callers = {lacking: user_without(iam, lacking) for lacking in lacks}

    def response(action, lacking):
        client = client_of(shared_application(ec2_endpoint_url=moto_url), callers[lacking])
        method, address = REQUESTS[action]
        return client.request(address.format(**ids), method=method, status="*")

    with verifying_requests(moto_url):
        yield response


def user_without(iam, actions):
    """Create a user who has the policy without some actions, and give the access key."""
    name = "-".join(("without", *actions)).replace("ec2:", "")
    iam.create_user(UserName=name)
    document = policy(without=actions)
    for statement in document["Statement"]:
        # moto's IAM does not support resources of EC2.
        statement["Resource"] = "*"
    iam.put_user_policy(UserName=name, PolicyName="documented", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return key["AccessKeyId"], key["SecretAccessKey"]


@pytest.mark.parametrize("action", REQUESTS)
def test_policy_suffices_and_each_request_needs_its_action(response_to, action):
    denied = response_to(action, lacking=(action,))
    assert denied.status_int == 502
    assert "AccessDenied: " in denied.lxml.findtext("message")
    assert response_to(action, lacking=()).status_int in (200, 201, 202, 204)


@pytest.mark.parametrize("action", VOLUMES)
def test_caller_without_the_actions_on_volumes_gets_the_refusal_of_ec2(response_to, action):
    denied = response_to(action, lacking=tuple(VOLUMES))
    assert denied.status_int == 502
    assert "AccessDenied: " in denied.lxml.findtext("message")


@pytest.mark.parametrize("action", ["ec2:DescribeVolumes", "ec2:CreateSnapshot"])
def test_caller_without_the_actions_on_volumes_loses_nothing_else(response_to, action):
    assert response_to(action, lacking=tuple(VOLUMES)).status_int in (200, 201)


def test_actions_on_volumes_are_in_a_statement_of_their_own():
    statements = {statement["Sid"]: statement["Action"] for statement in policy()["Statement"]}
    assert sorted(statements["Volumes"]) == sorted(VOLUMES)


# Resources and conditions, which moto does not evaluate


@pytest.fixture(scope="module")
def actions_of_ec2():
    model = builtin_models().load_service_model("ec2", "service-2")
    return {f"ec2:{action}" for action in model["operations"]}


def in_partition(partition):
    """Give the documented policy as the page says to write it for another partition."""
    return json.loads(POLICY.replace("arn:aws:", f"arn:{partition}:"))


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_policy_allows_each_action_on_its_resources(partition):
    assert RESOURCES.keys() == {f"ec2:{action}" for action in ACTIONS}
    for action in RESOURCES:
        assert allows(in_partition(partition), action, partition=partition), action


def test_policy_does_not_allow_writes_in_another_partition():
    allowed = {action for action in RESOURCES if allows(policy(), action, partition="aws-cn")}
    assert allowed == {action for action in RESOURCES if "Describe" in action}


@pytest.mark.parametrize(
    ("kind", "create"), [("snapshot", "CreateSnapshot"), ("volume", "CreateVolume")]
)
def test_policy_allows_tags_of_what_is_created_only(kind, create):
    assert allows(policy(), "ec2:CreateTags", [kind], create)
    others = (None, "RunInstances", *({"CreateSnapshot", "CreateVolume"} - {create}))
    assert not any(allows(policy(), "ec2:CreateTags", [kind], other) for other in others)


def test_policy_allows_no_other_action_and_no_other_resource(actions_of_ec2):
    def allowed(kind):
        return {action for action in actions_of_ec2 if allows(policy(), action, [kind])}

    reads = {action for action in RESOURCES if "Describe" in action}
    assert allowed("image") == reads
    assert allowed("instance") == reads | {*VOLUMES}
    assert allowed("volume") == allowed("snapshot") == set(RESOURCES)


@pytest.mark.parametrize(
    ("text", "writes"), [(READ, set()), (CREATE, {"ec2:CreateSnapshot", "ec2:CreateTags"})]
)
def test_policies_of_accounts_allow_what_they_say(text, writes):
    document = json.loads(text)
    allowed = {action for action in RESOURCES if allows(document, action)}
    if allows(document, "ec2:CreateTags", ["snapshot"], "CreateSnapshot"):
        allowed.add("ec2:CreateTags")
    assert allowed == writes | {action for action in RESOURCES if "Describe" in action}
