"""What accounts may do: the policies of ``docs/accounts.md``, with moto's STS and IAM.

moto verifies the signatures with their session tokens, the trust policies of roles, external ids,
and each call by the policies of its role.
"""

import json

import pytest

from tests.support.accounts import password_of, role_of, write_account_files
from tests.support.application import client_of, new_application
from tests.support.documents import read_xml
from tests.support.markdown import code_blocks, read_page
from tests.support.moto import native_client, verifying_requests

TRUST, ASSUME, READ, CREATE = (
    block.text for block in code_blocks(read_page("docs/accounts.md")) if block.language == "json"
)
[ALL] = (
    block.text for block in code_blocks(read_page("docs/migration.md")) if block.language == "json"
)
POLICIES = {"reader": READ, "creator": CREATE, "owner": ALL}

REQUESTS = {
    "list": ("GET", "/api/storage_snapshots"),
    "volumes": ("GET", "/api/storage_volumes"),
    "realms": ("GET", "/api/realms"),
    "create": ("POST", "/api/storage_snapshots?volume_id={volume_id}"),
    "delete": ("DELETE", "/api/storage_snapshots/{snapshot_id}"),
}
READS = {"list", "volumes", "realms"}
ALLOWED = {"reader": READS, "creator": READS | {"create"}, "owner": set(REQUESTS)}


def policy(text):
    document = json.loads(text)
    for statement in document["Statement"]:
        # moto's IAM does not support resources of EC2.
        if "ec2:" in str(statement["Action"]):
            statement["Resource"] = "*"
    return json.dumps(document)


def trust(external_id=None):
    """Give the documented trust policy. moto compares the session of a role, not the role."""
    document = json.loads(TRUST)
    [statement] = document["Statement"]
    assert statement["Principal"] == {"AWS": role_of("dcproxy")}
    statement["Principal"]["AWS"] = session_of("dcproxy")
    if external_id:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external_id}}
    return json.dumps(document)


def session_of(role):
    return f"arn:aws:sts::123456789012:assumed-role/{role}/host"


def role_name(account):
    return f"dcproxy-{account}"


ROLES = {
    "dcproxy": ("{}", ASSUME),
    "powerless": ("{}", READ),
    **{role_name(account): (trust(), text) for account, text in POLICIES.items()},
    role_name("partner"): (trust("agreed"), READ),
    "other": (trust(), READ),
}
"""The trust policy and the policy of each role. The instance's role may assume ``dcproxy-*``."""

ACCOUNTS = {
    **{account: ("dcproxy", role_name(account), "") for account in POLICIES},
    "partner": ("dcproxy", role_name("partner"), "external_id = agreed"),
    "stranger": ("dcproxy", role_name("partner"), "external_id = guessed"),
    "unrelated": ("dcproxy", "other", ""),
    "distrusted": ("powerless", role_name("reader"), ""),
}
"""The role of the host, that of the account, and what else its profile has."""


@pytest.fixture(scope="module")
def arranged(tmp_path_factory, moto_url, ec2):
    """Arrange the roles in moto's IAM, and make an application with the accounts."""
    iam, sts = (native_client(moto_url, service=name) for name in ("iam", "sts"))
    volume_id = ec2.create_volume(AvailabilityZone="us-east-1a", Size=8)["VolumeId"]
    snapshot_id = ec2.create_snapshot(VolumeId=volume_id)["SnapshotId"]
    for name, (trusted, text) in ROLES.items():
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusted)
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(text))
    hosts = {
        name: sts.assume_role(RoleArn=role_of(name), RoleSessionName="host")["Credentials"]
        for name in ("dcproxy", "powerless")
    }
    profiles = {
        account: profile(account, hosts[host], role, more, moto_url)
        for account, (host, role, more) in ACCOUNTS.items()
    }
    files = write_account_files(tmp_path_factory.mktemp("accounts"), profiles)
    app = new_application(ec2_endpoint_url=moto_url, **files.options)
    with verifying_requests(moto_url):
        yield app, {"volume_id": volume_id, "snapshot_id": snapshot_id}


def profile(account, host, role, more, url):
    return f"""
[profile host-of-{account}]
aws_access_key_id = {host["AccessKeyId"]}
aws_secret_access_key = {host["SecretAccessKey"]}
aws_session_token = {host["SessionToken"]}

[profile {account}]
role_arn = {role_of(role)}
source_profile = host-of-{account}
endpoint_url = {url}
{more}
"""


def response_to(arranged, account, request):
    app, ids = arranged
    method, address = REQUESTS[request]
    client = client_of(app, (account, password_of(account)))
    return client.request(address.format(**ids), method=method, status="*")


@pytest.mark.parametrize("account", POLICIES)
def test_account_may_do_what_the_policy_of_its_role_says(arranged, account):
    for request in REQUESTS:
        response = response_to(arranged, account, request)
        if request in ALLOWED[account]:
            assert response.status_int in {200, 201, 204}, request
        else:
            assert response.status_int == 502
            assert "AccessDenied: " in read_xml(response).findtext("message")


def test_external_id_lets_a_role_be_assumed(arranged):
    assert response_to(arranged, "partner", "list").status_int == 200


@pytest.mark.parametrize("account", ["stranger", "unrelated", "distrusted"])
def test_role_that_may_not_be_assumed_is_502(arranged, account):
    response = response_to(arranged, account, "list")
    assert response.status_int == 502
    message = read_xml(response).findtext("message")
    assert f"the account {account}: AssumeRole failed with AccessDenied" in message


def test_statements_are_those_of_the_policy_of_callers():
    statements = {s["Sid"]: s for s in json.loads(ALL)["Statement"]}
    assert json.loads(READ)["Statement"] == [statements["Read"]]
    read, create, tag = json.loads(CREATE)["Statement"]
    assert (read, tag) == (statements["Read"], statements["TagWhatIsCreated"])
    assert create == statements["CreateAndDelete"] | {
        "Sid": "Create",
        "Action": "ec2:CreateSnapshot",
    }
