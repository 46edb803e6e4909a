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
    """An operation of a collection; ``usage`` lists its parameters, optional ones in brackets."""

    name: str
    method: str
    description: str
    usage: str

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The name of each parameter, and ``required`` or ``optional``."""
        given = self.usage.split()
        return [(name.strip("[]"), "optional" if "[" in name else "required") for name in given]


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


def _reads(members: str, member: str, usage: str = "[id]") -> tuple[Operation, ...]:
    return (
        Operation("index", "GET", f"List {members}", usage),
        Operation("show", "GET", f"Show {member}", "id"),
    )


_STORAGE_SNAPSHOTS = (
    *_reads("storage snapshots", "a storage snapshot", "[id] [owner_id]"),
    Operation("create", "POST", "Create a storage snapshot", "volume_id [name] [description]"),
    Operation("destroy", "DELETE", "Delete a storage snapshot", "id"),
)
_STORAGE_VOLUMES = (
    *_reads("storage volumes", "a storage volume"),
    Operation(
        "create",
        "POST",
        "Create a storage volume, empty or from a snapshot",
        "[snapshot_id] [capacity] [realm_id] [name] [description]",
    ),
    Operation("destroy", "DELETE", "Delete a storage volume", "id"),
    Operation(
        "attach", "POST", "Attach a storage volume to an instance", "id instance_id [device]"
    ),
    Operation("detach", "POST", "Detach a storage volume from its instance", "id"),
)
_SNAPSHOT_FEATURES = (
    Feature("owner_id", "index", "owner_id"),
    Feature("snapshot_name", "create", "name"),
    Feature("snapshot_description", "create", "description"),
)
_VOLUME_FEATURES = (
    Feature("volume_name", "create", "name"),
    Feature("volume_description", "create", "description"),
)
_COLLECTIONS = (
    Collection("drivers", "The cloud and its providers", _reads("drivers", "a driver")),
    Collection("realms", "The availability zones of EC2", _reads("realms", "a realm")),
    Collection(
        "storage_snapshots", "Snapshots of storage volumes", _STORAGE_SNAPSHOTS, _SNAPSHOT_FEATURES
    ),
    Collection("storage_volumes", "Storage volumes", _STORAGE_VOLUMES, _VOLUME_FEATURES),
)
COLLECTIONS = {collection.name: collection for collection in _COLLECTIONS}
"""In the order of the entry point."""
