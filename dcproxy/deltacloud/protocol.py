"""Constants of the Deltacloud API: version, driver, collections and their features."""

from typing import NamedTuple

VERSION = "1.1.3"
"""The Deltacloud release whose protocol dcproxy speaks; clients compare it with ``Server``."""

SERVER = f"Apache-Deltacloud/{VERSION}"

DRIVER = "ec2"
DRIVER_NAME = "EC2"


class Feature(NamedTuple):
    """A parameter that an operation of a collection takes in addition to those of every driver."""

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
