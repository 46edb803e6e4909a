"""The options of a Paste section, each declared once: type, constraint, default, description.

Parsing, error messages and the tables in ``docs/configuration.md`` come from these declarations.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class SettingError(ValueError):
    """A wrong option; the message names the option, its value and what is allowed."""


class OptionType(NamedTuple):
    """How to parse the text of an option, and what is allowed. ``parse`` raises ``ValueError``."""

    parse: Callable[[str], Any]
    allowed: str


def _checked(parse: Callable[[str], Any], check: Callable[..., object], allowed: str) -> OptionType:
    """Create the type of those values for which ``check`` returns something true."""

    def parse_checked(text: str) -> Any:
        value = parse(text)
        if not check(value):
            raise ValueError
        return value

    return OptionType(parse_checked, allowed)


def _matching(pattern: str, allowed: str) -> OptionType:
    return _checked(str, re.compile(pattern, re.ASCII).fullmatch, allowed)


def _list_of(item: OptionType, allowed: str) -> OptionType:
    return OptionType(lambda text: tuple(map(item.parse, re.split(r"[,\s]+", text))), allowed)


def _whole(low: int, high: int) -> OptionType:
    allowed = f"a whole number from {low} to {high}"
    return _checked(int, range(low, high + 1).__contains__, allowed)


def _path(example: str) -> OptionType:
    path = _matching(r"/(?!api)[\w./-]*", f"off, or a path such as {example}")
    return path._replace(parse=lambda text: None if text == "off" else path.parse(text))


def _is_url(text: str) -> bool:
    url = urlsplit(text)
    is_web = url.scheme in {"http", "https"} and url.hostname and url.port != 0
    return bool(is_web and url.username is None and not url.query and not url.fragment)


def _is_address(text: str) -> bool:
    pattern = r"unix:(/[\w.@%+-]+)+|([\w.-]*|\[[0-9A-Fa-f:.]+\]):([1-9][0-9]*)"
    found = re.fullmatch(pattern, text, re.ASCII)
    return found is not None and int(found[3] or 0) <= 65535


MAX_TAGS = 50
"""Tags that a snapshot or a volume may have (EC2 User Guide, "Tag restrictions")."""

RESERVED_TAGS = ("aws:", "dcproxy:")
"""Prefixes of the keys, in any case, that no tag of an operator or a volume may have."""

_MAX_OPERATORS_TAGS = MAX_TAGS - 3  # the others: Name, dcproxy:create and dcproxy:request
# Without quotes at either end, and characters that XML 1.0 cannot hold.
_TAG = re.compile(r"""(?!["'])[^\x00-\x1f\ud800-\udfff\ufffe\uffff]{0,256}(?<!["'])""")


def _parse_tags(text: str) -> tuple[tuple[str, str], ...]:
    tags: dict[str, str] = {}
    for pair in text.split(","):
        key, value = map(str.strip, pair.split("=", 1))
        is_allowed = 0 < len(key) <= 128 and _TAG.fullmatch(key) and _TAG.fullmatch(value)
        if not is_allowed or key.lower().startswith(RESERVED_TAGS) or key in tags:
            raise ValueError
        tags[key] = value
    if len(tags) > _MAX_OPERATORS_TAGS:
        raise ValueError
    return tuple(tags.items())


_TAGS = OptionType(
    _parse_tags,
    f"up to {_MAX_OPERATORS_TAGS} different tags such as CostCentre=42, Owner=backup: keys of 1 to "
    "128 characters, values of up to 256, no quotes around them, no commas in them, and no key "
    "that begins with aws: or dcproxy:",
)
_REGION = _matching(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}", "an EC2 region such as us-east-1")
_FILE = _matching(r"/.+", "an absolute path")
_HOST = _matching(r"\.?[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*", "a host name")
_SECONDS = _checked(float, lambda s: 0 < s <= 3600, "a number of seconds above 0, at most 3600")
_DEADLINE = _checked(float, lambda s: 15 <= s <= 3600, "a number of seconds from 15 to 3600")
_SWITCH = OptionType({"on": True, "off": False}.__getitem__, "on or off")

OWNERS = _list_of(
    _matching("self|amazon|[0-9]{12}", "an owner"), "self, amazon or account numbers of 12 digits"
)
"""Owners of snapshots, such as ``self, 123456789012`` (EC2 API reference, DescribeSnapshots)."""


def _option(type: OptionType, description: str, default: Any) -> Any:
    return field(default=default, metadata={"type": type, "description": description})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of ``egg:dcproxy``. Times are in seconds, None and empty tuples are unset."""

    ec2_endpoint_url: str | None = _option(
        _checked(str, _is_url, "a URL such as https://ec2.example.org/"),
        "URL of EC2 for all regions. Unset: the AWS endpoint of the region.",
        None,
    )
    provider: str = _option(_REGION, "EC2 region of requests that name no provider.", "us-east-1")
    regions: tuple[str, ...] = _option(
        _list_of(_REGION, "names of regions, such as RegionOne, RegionTwo"),
        "Regions that botocore does not know, for private clouds.",
        (),
    )
    owners: tuple[str, ...] = _option(
        OWNERS,
        "Owners of the snapshots in a list without `owner_id`. Unset: every snapshot that the "
        "caller may use, public ones included; in HTML, the caller's own.",
        (),
    )
    collections: tuple[str, ...] = _option(
        _list_of(
            _matching("storage_snapshots|storage_volumes", "a collection"),
            "storage_snapshots, storage_volumes or both",
        ),
        "Collections that the filter handles; it passes on the others. Only for the filter.",
        ("storage_snapshots",),
    )
    page_size: int = _option(
        _whole(5, 1000), "Snapshots or volumes per EC2 request of a list.", 1000
    )
    deadline: float = _option(_DEADLINE, "Time limit of a request, and of each further page.", 40.0)
    request_timeout: float = _option(
        _SECONDS, "Time limit for a client to send a complete request, body included.", 20.0
    )
    idle_timeout: float = _option(
        _SECONDS, "Time after which a client that takes nothing of its response is reset.", 60.0
    )
    connect_timeout: float = _option(_SECONDS, "Time limit for a connection to EC2.", 5.0)
    read_timeout: float = _option(_SECONDS, "Time limit for each read of an EC2 response.", 20.0)
    retry_attempts: int = _option(_whole(1, 10), "EC2 requests per call, the first included.", 3)
    capacity: int = _option(_whole(1, 10_000), "Calls of EC2 that a worker makes at once.", 128)
    share_per_key: int = _option(_whole(1, 100), "Percentage of `capacity` for one caller.", 50)
    create_tag: bool = _option(
        _SWITCH, "Whether each new snapshot carries the tag that makes its creation safe.", True
    )
    tags: tuple[tuple[str, str], ...] = _option(
        _TAGS, "Tags of each new snapshot and volume, set by the call that makes it.", ()
    )
    copy_tags: bool = _option(
        _SWITCH, "Whether each new snapshot also carries the tags of its volume.", False
    )
    accounts: str | None = _option(
        _FILE,
        "File of the accounts, made by `htpasswd -B`. Unset: callers use their own access keys.",
        None,
    )
    aws_config: str | None = _option(
        _FILE, "AWS configuration file with a `[profile NAME]` for each account.", None
    )
    own_keys: bool = _option(
        _SWITCH, "Whether `accounts` lets in other callers too, with their own access keys.", False
    )
    health: str | None = _option(_path("/healthz"), "Path of the health check.", "/healthz")
    ready: str | None = _option(
        _path("/readyz"),
        "No effect, and a warning: the readiness check was removed. The next release refuses it.",
        None,
    )
    metrics: str | None = _option(_path("/metrics"), "Path of the Prometheus metrics.", "/metrics")
    admin_bind: str | None = _option(
        _checked(str, _is_address, "an address such as 127.0.0.1:9001 or unix:/run/dcproxy/admin"),
        "Address at which alone the health check and the metrics answer. Unset: they answer where "
        "the API does.",
        None,
    )
    log_format: str | None = _option(
        _matching("json|text", "json or text"),
        "Format of log lines. Unset: text in a terminal, JSON elsewhere.",
        None,
    )
    trusted_proxies: int = _option(
        _whole(0, 10), "Proxies in front whose `X-Forwarded-*` headers are trusted.", 0
    )
    trusted_hosts: tuple[str, ...] = _option(
        _list_of(_HOST, "names of hosts, such as cloud.example.org, .example.org"),
        "Host names that requests may use; a leading dot allows sub-domains. Unset: any.",
        (),
    )


def without_password(url: str) -> str:
    """Return a URL, or ``HTTPS_PROXY`` without a scheme, without name and password in it."""
    return re.sub(r"(?<=//).*@|^[^/=]*:(?!//).*@", "***@", url)


def setting_error(name: str, value: str, allowed: str) -> SettingError:
    """Build the error for an option whose value is not allowed."""
    shown = without_password(value)
    return SettingError(f"option {name} = {shown!r} is not allowed: it takes {allowed}")


def from_options(options: Mapping[str, str]) -> Settings:
    """Parse the options of a Paste section. An empty value is an unset option.

    Raises ``SettingError`` for an unknown option, and for a value that is not allowed.
    """
    declared = {declaration.name: declaration for declaration in fields(Settings)}
    values = {}
    for name, text in options.items():
        if name not in declared:
            raise SettingError(f"option {name} is not known: the options are {', '.join(declared)}")
        if not text.strip():
            continue
        type = declared[name].metadata["type"]
        try:
            values[name] = type.parse(text.strip())
        except (KeyError, ValueError):
            raise setting_error(name, text, type.allowed) from None
    return Settings(**values)
