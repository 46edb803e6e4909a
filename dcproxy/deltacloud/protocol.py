"""Constants of the Deltacloud API: version, driver, collections and their features."""

from typing import NamedTuple

VERSION = "1.1.3"
"""The Deltacloud release whose protocol dcproxy speaks; clients compare it with ``Server``."""

SERVER = f"Apache-Deltacloud/{VERSION}"

DRIVER = "ec2"
DRIVER_NAME = "EC2"
DEFAULT_PROVIDER = "default"
"""What JSON and errors say for the provider of a request that names none."""


class Feature(NamedTuple):
    """A parameter that an operation of a collection takes in addition to those of every driver."""

    name: str
    operation: str
    parameter: str


class Operation(NamedTuple):
    """An operation of a collection, as its documentation has it, with its parameters."""

    name: str
    method: str
    description: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The name of each parameter, and ``required`` or ``optional``."""
        required = [(name, "required") for name in self.required]
        return [*required, *((name, "optional") for name in self.optional)]


class Action(NamedTuple):
    """A change of a member, as its document links it; ``path`` follows the href of the member."""

    rel: str
    method: str
    path: str


ATTACH = Action("attach", "post", "/attach")
DETACH = Action("detach", "post", "/detach")
DESTROY = Action("destroy", "delete", "")


class Collection(NamedTuple):
    """A collection; its operations have the names of Deltacloud."""

    name: str
    description: str
    operations: tuple[Operation, ...]
    features: tuple[Feature, ...] = ()


def _reads(members: str, member: str, *filters: str) -> tuple[Operation, ...]:
    return (
        Operation("index", "GET", f"List {members}", optional=("id", *filters)),
        Operation("show", "GET", f"Show {member}", ("id",)),
    )


_DRIVERS = Collection("drivers", "The cloud and its providers", _reads("drivers", "a driver"))
_REALMS = Collection("realms", "The availability zones of EC2", _reads("realms", "a realm"))
_STORAGE_SNAPSHOTS = Collection(
    "storage_snapshots",
    "Snapshots of storage volumes",
    (
        *_reads("storage snapshots", "a storage snapshot", "owner_id"),
        Operation(
            "create", "POST", "Create a storage snapshot", ("volume_id",), ("name", "description")
        ),
        Operation("destroy", "DELETE", "Delete a storage snapshot", ("id",)),
    ),
    (
        Feature("owner_id", "index", "owner_id"),
        Feature("snapshot_name", "create", "name"),
        Feature("snapshot_description", "create", "description"),
    ),
)
_STORAGE_VOLUMES = Collection(
    "storage_volumes",
    "Storage volumes",
    (
        *_reads("storage volumes", "a storage volume"),
        Operation(
            "create",
            "POST",
            "Create a storage volume, empty or from a snapshot",
            optional=("snapshot_id", "capacity", "realm_id", "name", "description"),
        ),
        Operation("destroy", "DELETE", "Delete a storage volume", ("id",)),
        Operation(
            "attach",
            "POST",
            "Attach a storage volume to an instance",
            ("id", "instance_id"),
            ("device",),
        ),
        Operation("detach", "POST", "Detach a storage volume from its instance", ("id",)),
    ),
    (
        Feature("volume_name", "create", "name"),
        Feature("volume_description", "create", "description"),
    ),
)
COLLECTIONS = {
    collection.name: collection
    for collection in (_DRIVERS, _REALMS, _STORAGE_SNAPSHOTS, _STORAGE_VOLUMES)
}
"""In the order of the entry point."""
