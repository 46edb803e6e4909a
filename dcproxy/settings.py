"""The options of a Paste section as one typed, validated, frozen object."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class SettingError(ValueError):
    """An option that stops the start; the message names it, its value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decided. Times are in seconds.

    ``ec2_endpoint_url`` None: AWS's own endpoint of the region. ``provider`` is the region of a
    request that names none. ``owners`` are the owner ids of a list that names none; empty: every
    snapshot that the caller may use. ``page_size`` is EC2's ``MaxResults``.
    """

    ec2_endpoint_url: str | None = None
    provider: str = "us-east-1"
    owners: tuple[str, ...] = ()
    page_size: int = 1000
    connect_timeout: float = 5.0
    read_timeout: float = 60.0


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
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text):
        raise ValueError
    return text


def owner_ids(text: str) -> tuple[str, ...]:
    """Split a list of owners such as ``self, 123456789012``; ``ValueError`` when one is none.

    The rule is that of DescribeSnapshots in the EC2 API reference.
    """
    owners = tuple(re.split(r"[,\s]+", text.strip()))
    if not all(re.fullmatch(r"self|amazon|[0-9]{12}", owner) for owner in owners):
        raise ValueError
    return owners


OWNERS_ALLOWED = "self, amazon or account numbers of 12 digits"


def _page_size(text: str) -> int:
    size = int(text)
    if not 5 <= size <= 1000:
        raise ValueError
    return size


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and 0 < seconds <= 3600):
        raise ValueError
    return seconds


_SECONDS = _Option(_seconds, "a number of seconds above 0, at most 3600")

_OPTIONS = {
    "ec2_endpoint_url": _Option(_url, "a URL such as https://ec2.example.org/"),
    "provider": _Option(_region, "an EC2 region such as us-east-1"),
    "owners": _Option(owner_ids, OWNERS_ALLOWED),
    "page_size": _Option(_page_size, "a whole number from 5 to 1000"),
    "connect_timeout": _SECONDS,
    "read_timeout": _SECONDS,
}
assert set(_OPTIONS) == {field.name for field in fields(Settings)}  # noqa: S101


def setting_error(name: str, value: str, allowed: str) -> SettingError:
    """Say of one option what it is, what it was set to, and what is allowed."""
    without_password = re.sub(r"//[^/]*@", "//***@", value)
    return SettingError(f"option {name} = {without_password!r} is not allowed: it takes {allowed}")


def from_options(options: Mapping[str, str]) -> Settings:
    """Read the options of a Paste section. An option with an empty value counts as not there.

    Raises ``SettingError`` for an unknown option or a value that is not allowed.
    """
    values = {}
    for name, text in options.items():
        option = _OPTIONS.get(name)
        if option is None:
            raise SettingError(f"option {name} is not known: the options are {', '.join(_OPTIONS)}")
        if not text.strip():
            continue
        try:
            values[name] = option.parse(text.strip())
        except ValueError:
            raise setting_error(name, text, option.allowed) from None
    return Settings(**values)
