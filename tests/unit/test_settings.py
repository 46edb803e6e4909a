"""Options: defaults, constraints, and the messages of errors."""

import subprocess
import sys

import pytest

from dcproxy.app import app_factory
from dcproxy.settings import SettingError, Settings, from_options, without_password


def test_no_options_give_the_defaults():
    assert from_options({}) == Settings()


def test_empty_value_counts_as_unset():
    assert from_options({"owners": " ", "page_size": ""}) == Settings()


def test_every_option_is_read():
    assert from_options(
        {
            "ec2_endpoint_url": "https://ec2.example.org:8773/services/Cloud",
            "provider": "eu-west-1",
            "owners": "self, 123456789012",
            "regions": "RegionOne RegionTwo",
            "retry_attempts": "1",
            "create_tag": "off",
            "tags": "CostCentre=42, Owner=backup",
            "copy_tags": "on",
            "accounts": "/etc/dcproxy/accounts",
            "aws_config": "/etc/dcproxy/aws-config",
            "own_keys": "on",
            "health": "/up",
            "metrics": "off",
            "log_format": "json",
            "trusted_proxies": "2",
            "trusted_hosts": "cloud.example.org, .example.net",
            "page_size": "5",
            "connect_timeout": "0.5",
            "read_timeout": "30",
        }
    ) == Settings(
        ec2_endpoint_url="https://ec2.example.org:8773/services/Cloud",
        provider="eu-west-1",
        owners=("self", "123456789012"),
        regions=("RegionOne", "RegionTwo"),
        retry_attempts=1,
        create_tag=False,
        tags=(("CostCentre", "42"), ("Owner", "backup")),
        copy_tags=True,
        accounts="/etc/dcproxy/accounts",
        aws_config="/etc/dcproxy/aws-config",
        own_keys=True,
        health="/up",
        metrics=None,
        log_format="json",
        trusted_proxies=2,
        trusted_hosts=("cloud.example.org", ".example.net"),
        page_size=5,
        connect_timeout=0.5,
        read_timeout=30,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("tags", text)
            for text in (
                "Owner",
                "=42",
                "Owner=backup,",
                "Owner=backup,,CostCentre=42",
                "Owner=a, b",
                "Owner=backup, Owner=restore",
                "aws:cloudformation=x",
                "AWS:x=y",
                "dcproxy:create=x",
                '"Owner=backup"',
                "Owner='backup'",
                '"Owner"=backup',
                "Owner=backup\nCostCentre=42",
                f"{'k' * 129}=x",
                f"k={'v' * 257}",
                ", ".join(f"tag-{number}=x" for number in range(48)),
            )
        ),
        ("copy_tags", "yes"),
        ("ec2_endpoint_url", "ec2.example.org"),
        ("ec2_endpoint_url", "ftp://ec2.example.org"),
        ("ec2_endpoint_url", "https://"),
        ("ec2_endpoint_url", "https://ec2.example.org:99999"),
        ("ec2_endpoint_url", "https://ec2.example.org/?x=1"),
        ("provider", "US East"),
        ("owners", "me"),
        ("page_size", "4"),
        ("page_size", "1001"),
        ("page_size", "many"),
        ("connect_timeout", "0"),
        ("read_timeout", "-1"),
        ("read_timeout", "nan"),
        ("read_timeout", "inf"),
        ("read_timeout", "1e9"),
        ("retry_attempts", "0"),
        ("capacity", "0"),
        ("share_per_key", "101"),
        ("create_tag", "yes"),
        ("health", "up"),
        ("metrics", "/api/metrics"),
        ("ready", "ready"),
        ("admin_bind", "127.0.0.1"),
        ("admin_bind", "127.0.0.1:0"),
        ("admin_bind", "127.0.0.1:65536"),
        ("admin_bind", "unix:admin"),
        ("admin_bind", "unix:///run/admin"),
        ("log_format", "xml"),
        ("trusted_proxies", "-1"),
        ("trusted_hosts", "http://cloud.example.org"),
        ("trusted_hosts", f"{'a' * 64}.example.org"),
    ],
)
def test_invalid_value_error_names_option_value_and_constraint(name, value):
    with pytest.raises(SettingError) as error:
        from_options({name: value})
    assert name in str(error.value)
    assert repr(value) in str(error.value)
    assert "it takes" in str(error.value)


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        (
            "  CostCentre = 42 ,\n  Owner=backup team",
            (("CostCentre", "42"), ("Owner", "backup team")),
        ),
        ("Owner=", (("Owner", ""),)),
        ("query=a=b", (("query", "a=b"),)),
        ("Besitzer=Bob's Größe", (("Besitzer", "Bob's Größe"),)),
        (f"{'k' * 128}={'v' * 256}", (("k" * 128, "v" * 256),)),
    ],
)
def test_tags_are_pairs_separated_by_commas(text, tags):
    assert from_options({"tags": text}).tags == tags


def test_47_tags_are_allowed():
    text = ", ".join(f"tag-{number}=x" for number in range(47))
    assert len(from_options({"tags": text}).tags) == 47


def test_unknown_option_error_lists_the_known_options():
    with pytest.raises(SettingError, match=r"option pagesize is not known.*page_size"):
        from_options({"pagesize": "10"})


def test_unknown_default_region_is_rejected_at_startup():
    with pytest.raises(SettingError, match=r"provider = 'mars-1'.*eu-west-1"):
        app_factory({}, provider="mars-1")


def test_password_in_the_endpoint_is_rejected_and_not_repeated():
    with pytest.raises(SettingError) as error:
        from_options({"ec2_endpoint_url": "https://user:hidden@ec2.example.org/"})
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:a/b@c@proxy.example.org:3128", "http://***@proxy.example.org:3128"),
        ("user:a/b=c@proxy.example.org:3128", "***@proxy.example.org:3128"),
        ("http://proxy.example.org:3128", "http://proxy.example.org:3128"),
        ("Owner=backup@example.org", "Owner=backup@example.org"),
    ],
)
def test_url_is_shown_without_its_password(url, shown):
    assert without_password(url) == shown


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9001", "[::1]:9001", ":9001", "localhost:9001", "unix:/run/dcproxy/a-1"]
)
def test_addresses_of_the_operational_endpoints(address):
    assert from_options({"admin_bind": address}).admin_bind == address


@pytest.mark.parametrize("regions", ["RegionOne, regionone", "US-East-1"])
def test_regions_that_differ_only_in_case_are_rejected_at_startup(regions):
    with pytest.raises(SettingError, match=rf"regions = '{regions}'.*more than their case"):
        app_factory({}, regions=regions)


def test_option_of_the_removed_readiness_check_is_a_warning(caplog):
    app_factory({}, ready="/readyz")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["option ready has no effect: the readiness check was removed"]


@pytest.mark.live
def test_application_imports_no_gunicorn_and_changes_nothing_in_the_process():
    program = (
        "import gc, logging, sys\n"
        "frozen = gc.get_freeze_count()\n"  # Python 3.12 starts with some
        "from dcproxy.app import app_factory\n"
        "app_factory({}, request_timeout='1', log_format='json')\n"
        "assert not any(name.partition('.')[0] == 'gunicorn' for name in sys.modules)\n"
        "assert gc.get_freeze_count() == frozen\n"
        "assert not logging.getLogger('dcproxy').handlers\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
