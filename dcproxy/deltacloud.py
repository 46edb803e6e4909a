"""What Deltacloud itself defines: its version, its collections and features, its way with time."""

from datetime import date
from functools import lru_cache
from typing import NamedTuple

VERSION = "1.1.3"
"""The release whose protocol this is: clients compare it with the ``Server`` header."""

SERVER = f"Apache-Deltacloud/{VERSION}"

DRIVER = "ec2"
DRIVER_NAME = "EC2"


class Feature(NamedTuple):
    """A parameter that an operation of a collection takes beyond those that every driver has."""

    name: str
    operation: str
    parameter: str


COLLECTIONS: dict[str, tuple[Feature, ...]] = {
    "drivers": (),
    "realms": (),
    "storage_snapshots": (
        Feature("owner_id", "index", "owner_id"),
        Feature("snapshot_name", "create", "name"),
        Feature("snapshot_description", "create", "description"),
    ),
    "storage_volumes": (),
}

# Not strftime: its names are those of the locale.
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def created(time: str) -> str:
    """Write a time as ``<created>`` has it: ``Thu Jul 28 21:54:19 UTC 2011``.

    ``time`` is ISO 8601 in UTC, such as 2011-07-28T21:54:19.000Z.
    """
    before, after = _around_the_clock(time[:10])
    return f"{before}{time[11:19]}{after}"


@lru_cache(maxsize=10_000)
def _around_the_clock(day: str) -> tuple[str, str]:
    when = date.fromisoformat(day)
    weekday, month = _WEEKDAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"{weekday} {month} {when.day:02} ", f" UTC {when.year:04}"
