"""Options: defaults, constraints, and the messages of errors."""

import pytest

from dcproxy.app import app_factory
from dcproxy.settings import SettingError, Settings, from_options


def test_no_options_give_the_defaults():
    assert from_options({}, Settings) == Settings()


def test_empty_value_counts_as_unset():
    assert from_options({"owners": " ", "page_size": ""}, Settings) == Settings()


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
            "health": "/up",
            "metrics": "off",
            "log_format": "json",
            "trusted_proxies": "2",
            "trusted_hosts": "cloud.example.org, .example.net",
            "page_size": "5",
            "connect_timeout": "0.5",
            "read_timeout": "30",
        },
        Settings,
    ) == Settings(
        ec2_endpoint_url="https://ec2.example.org:8773/services/Cloud",
        provider="eu-west-1",
        owners=("self", "123456789012"),
        regions=("RegionOne", "RegionTwo"),
        retry_attempts=1,
        create_tag=False,
        tags=(("CostCentre", "42"), ("Owner", "backup")),
        copy_tags=True,
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
        ("create_tag", "yes"),
        ("health", "up"),
        ("metrics", "/api/metrics"),
        ("log_format", "xml"),
        ("trusted_proxies", "-1"),
        ("trusted_hosts", "http://cloud.example.org"),
    ],
)
def test_invalid_value_error_names_option_value_and_constraint(name, value):
    with pytest.raises(SettingError) as error:
        from_options({name: value}, Settings)
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
    assert from_options({"tags": text}, Settings).tags == tags


def test_47_tags_are_allowed():
    text = ", ".join(f"tag-{number}=x" for number in range(47))
    assert len(from_options({"tags": text}, Settings).tags) == 47


def test_unknown_option_error_lists_the_known_options():
    with pytest.raises(SettingError, match=r"option pagesize is not known.*page_size"):
        from_options({"pagesize": "10"}, Settings)


def test_unknown_default_region_is_rejected_at_startup():
    with pytest.raises(SettingError, match=r"provider = 'mars-1'.*eu-west-1"):
        app_factory({}, provider="mars-1")


def test_password_in_the_endpoint_is_rejected_and_not_repeated():
    with pytest.raises(SettingError) as error:
        from_options({"ec2_endpoint_url": "https://user:hidden@ec2.example.org/"}, Settings)
    assert "hidden" not in str(error.value)
