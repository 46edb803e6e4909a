"""Files of accounts that are wrong: told at the start, without a call of anything."""

import pytest

from dcproxy.auth.caller import Callers
from dcproxy.runtime import Runtime
from dcproxy.settings import SettingError, Settings
from tests.support.accounts import BASE, role_of, role_profile, write_account_files

REGIONS = ("eu-west-1", "us-east-1")
ROLE = f"[profile reader]\nrole_arn = {role_of('reader')}\n"
SSO = "[profile reader]\nsso_account_id = 123456789012\nsso_role_name = reader\n"


def start(tmp_path, profile="", **options):
    files = write_account_files(tmp_path, {"reader": profile})
    Callers(Settings(**{**files.options, **options}), Runtime(), REGIONS, print)


def error_of(tmp_path, profile="", **options):
    with pytest.raises(SettingError) as caught:
        start(tmp_path, profile, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    "profile",
    [
        f"{ROLE}source_profile = base\n",
        f"{ROLE}credential_source = Ec2InstanceMetadata\nregion = eu-west-1\n",
        f"{ROLE}source_profile = reader\naws_access_key_id = A\naws_secret_access_key = s\n",
        f"{ROLE}source_profile = hub\n[profile hub]\nsource_profile = gone\n"
        "aws_access_key_id = A\naws_secret_access_key = s\n",
        f"{ROLE}web_identity_token_file = /nowhere\n",
        f"{SSO}sso_session = corp\n[sso-session corp]\nsso_region = us-east-1\n",
        f"{SSO}sso_start_url = https://corp.awsapps.com/start\nsso_region = us-east-1\n",
        "[profile reader]\ncredential_process = touch called\n",
        "[profile reader]\naws_access_key_id = A\naws_secret_access_key = s\n",
    ],
)
def test_complete_profile_is_accepted_and_nothing_is_called(tmp_path, monkeypatch, profile, sts):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", sts.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
    start(tmp_path, profile)
    assert sts.requests == []
    assert sts.handed_out == []
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("", "there is no [profile reader]"),
        ("[reader]\naws_access_key_id = A\n", "there is no [profile reader]"),
        (
            "[profile reader]\n",
            "[profile reader] is incomplete: it lacks role_arn and web_identity_token_file, or",
        ),
        ("[profile reader]\naws_access_key_id = A\n", "it lacks aws_secret_access_key"),
        (ROLE, "it lacks web_identity_token_file, or source_profile, or credential_source"),
        (f"{ROLE}source_profile = base\n".replace("role_arn", "rolearn"), "it lacks role_arn"),
        (
            f"{ROLE}credential_source = Environment\n".replace("role_arn", "role"),
            "it lacks role_arn",
        ),
        (
            "[profile reader]\nrolearn = x\nsource_profile = reader\n"
            "aws_access_key_id = A\naws_secret_access_key = s\n",
            "it lacks role_arn",
        ),
        (f"{ROLE}sourceprofile = base\n", "source_profile"),
        (f"{SSO}sso_start_url = https://corp.awsapps.com/start\n", "it lacks sso_region"),
        (
            "[profile reader]\naws_access_key = A\naws_secret_access_key = s\n",
            "it lacks aws_access_key_id",
        ),
        (f"{ROLE}aws_access_key_id = A\naws_secret_access_key = s\n", "is incomplete"),
        (f"{ROLE}source_profile =\n", "is incomplete"),
        (f"{ROLE}source_profile = nobody\n", "there is no [profile nobody]"),
        (f"{ROLE}source_profile = reader\n", "its source_profile leads back to it"),
        (
            f"{ROLE}source_profile = hub\n[profile hub]\nrole_arn = a\nsource_profile = reader\n",
            "[profile reader]: its source_profile leads back to it",
        ),
        (f"{ROLE}source_profile = hub\n[profile hub]\n", "[profile hub] is incomplete"),
        (f"{ROLE}credential_source = Nowhere\n", "credential_source takes Environment, Ecs"),
        (
            f"{ROLE}credential_source = Environment\nsource_profile = base\n",
            "has both credential_source and source_profile",
        ),
        (f"{ROLE}source_profile = base\nmfa_serial = x\n", "[profile reader] has mfa_serial"),
        (f"{SSO}sso_session = corp\n", "there is no [sso-session corp]"),
        (SSO, "is incomplete"),
        (f"{ROLE}source_profile = base\nregion = nowhere-1\n", "has the region 'nowhere-1'"),
        ("[profile reader\n", "cannot be read: Unable to parse config file"),
    ],
)
def test_wrong_profile_is_told_with_the_file(tmp_path, profile, message):
    error = error_of(tmp_path, profile)
    assert str(tmp_path / "aws-config") in error
    assert message in error


def test_missing_files_are_told(tmp_path):
    profile = f"{ROLE}source_profile = base\n"
    for option in ("accounts", "aws_config"):
        error = error_of(tmp_path, profile, **{option: "/nowhere/file"})
        assert "/nowhere/file cannot be read" in error
        assert "No such file" in error


@pytest.mark.parametrize("option", ["accounts", "aws_config"])
def test_options_need_each_other(tmp_path, option):
    error = error_of(tmp_path, BASE, **{option: None})
    assert error == "the options accounts and aws_config need each other"


def test_wrong_line_of_the_accounts_is_told(tmp_path, sts):
    files = write_account_files(tmp_path, {"reader": role_profile("reader", sts.url)})
    files.accounts.write_text("reader:plain-password\n")
    with pytest.raises(SettingError, match="line 1: reader has no bcrypt hash") as caught:
        Callers(Settings(**files.options), Runtime(), REGIONS, print)
    assert "plain-password" not in str(caught.value)
