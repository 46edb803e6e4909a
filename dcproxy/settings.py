"""The options of a Paste section as one typed, validated, frozen object."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from dcproxy.logs import FORMATS


class SettingError(ValueError):
    """An option that stops the start; the message names it, its value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decided. Times are in seconds.

    ``ec2_endpoint_url`` None: AWS's own endpoint of the region. ``provider`` is the region of a
    request that names none. ``owners`` are the owner ids of a list that names none; empty: every
    snapshot that the caller may use. ``regions`` are those that botocore does not know.
    ``page_size`` is EC2's ``MaxResults``. ``retry_attempts`` is how often EC2 is asked in all.
    ``create_tag``: each create carries a tag, by which it happens once. ``health`` and ``metrics``
    are addresses for those who watch, None where there is none. ``log_format`` None: text in a
    terminal, JSON elsewhere. ``trusted_proxies`` is how many proxies stand in front, whose
    forwarded headers are believed. ``trusted_hosts`` are the names allowed in Host, with a dot
    before those whose sub-domains are too; empty: all.
    """

    ec2_endpoint_url: str | None = None
    provider: str = "us-east-1"
    owners: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    page_size: int = 1000
    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    retry_attempts: int = 3
    create_tag: bool = True
    health: str | None = "/healthz"
    metrics: str | None = "/metrics"
    log_format: str | None = None
    trusted_proxies: int = 0
    trusted_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """Where the old server is, behind the filter. Times are in seconds."""

    url: str
    connect_timeout: float = 5.0
    read_timeout: float = 60.0


AnySettings = TypeVar("AnySettings", Settings, UpstreamSettings)


class _Option(NamedTuple):
    parse: Callable[[str], Any]
    allowed: str


def _url(text: str) -> str:
    url = urlsplit(text)
    if (
        url.scheme not in {"http", "https"}
        or not url.hostname
        or (url.port == 0)
        or url.username is not None
        or url.query
        or url.fragment
    ):
        raise ValueError
    return text


def _region(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}", text):
        raise ValueError
    return text


def _regions(text: str) -> tuple[str, ...]:
    return tuple(map(_region, _words(text)))


def _host_names(text: str) -> tuple[str, ...]:
    names = tuple(_words(text))
    if not all(re.fullmatch(r"\.?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*", name) for name in names):
        raise ValueError
    return names


def _words(text: str) -> list[str]:
    return re.split(r"[,\s]+", text.strip())


def owner_ids(text: str) -> tuple[str, ...]:
    """Split a list of owners such as ``self, 123456789012``; ``ValueError`` when one is none.

    The rule is that of DescribeSnapshots in the EC2 API reference.
    """
    owners = tuple(_words(text))
    if not all(re.fullmatch(r"self|amazon|[0-9]{12}", owner) for owner in owners):
        raise ValueError
    return owners


OWNERS_ALLOWED = "self, amazon or account numbers of 12 digits"


def _whole_number(low: int, high: int) -> _Option:
    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    return _Option(parse, f"a whole number from {low} to {high}")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and 0 < seconds <= 3600):
        raise ValueError
    return seconds


def _path(text: str) -> str | None:
    if text == "off":
        return None
    if not re.fullmatch(r"/[\w./-]*", text, re.ASCII) or text.startswith("/api"):
        raise ValueError
    return text


def _switch(text: str) -> bool:
    return {"on": True, "off": False}[text]


def _log_format(text: str) -> str:
    if text not in FORMATS:
        raise ValueError
    return text


_SECONDS = _Option(_seconds, "a number of seconds above 0, at most 3600")

_OPTIONS = {
    "ec2_endpoint_url": _Option(_url, "a URL such as https://ec2.example.org/"),
    "provider": _Option(_region, "an EC2 region such as us-east-1"),
    "owners": _Option(owner_ids, OWNERS_ALLOWED),
    "regions": _Option(_regions, "names of regions, such as RegionOne, RegionTwo"),
    "page_size": _whole_number(5, 1000),
    "connect_timeout": _SECONDS,
    "read_timeout": _SECONDS,
    "retry_attempts": _whole_number(1, 10),
    "create_tag": _Option(_switch, "on or off"),
    "health": _Option(_path, "off, or a path such as /healthz"),
    "metrics": _Option(_path, "off, or a path such as /metrics"),
    "log_format": _Option(_log_format, "json or text"),
    "trusted_proxies": _whole_number(0, 10),
    "trusted_hosts": _Option(
        _host_names, "names of hosts, such as cloud.example.org, .example.org"
    ),
    "url": _Option(_url, "a URL such as http://127.0.0.1:3002"),
}


def setting_error(name: str, value: str, allowed: str) -> SettingError:
    """Say of one option what it is, what it was set to, and what is allowed."""
    without_password = re.sub(r"//.*@", "//***@", value)
    return SettingError(f"option {name} = {without_password!r} is not allowed: it takes {allowed}")


def from_options(options: Mapping[str, str], kind: type[AnySettings]) -> AnySettings:
    """Read the options of a Paste section. An option with an empty value counts as not there.

    ``kind`` is the class of settings to make of them. Raises ``SettingError`` for an unknown
    option, one that is missing, or a value that is not allowed.
    """
    known = {field.name: field for field in fields(kind)}
    values = {}
    for name, text in options.items():
        if name not in known:
            raise SettingError(f"option {name} is not known: the options are {', '.join(known)}")
        if not text.strip():
            continue
        try:
            values[name] = _OPTIONS[name].parse(text.strip())
        except (KeyError, ValueError):
            raise setting_error(name, text, _OPTIONS[name].allowed) from None
    for name, field in known.items():
        if field.default is MISSING and name not in values:
            raise SettingError(f"option {name} is missing: it takes {_OPTIONS[name].allowed}")
    return kind(**values)
