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


class Parameter(NamedTuple):
    """A parameter of an operation; ``type`` is ``required`` or ``optional``."""

    name: str
    type: str


class Operation(NamedTuple):
    """An operation of a collection, as its documentation has it."""

    name: str
    method: str
    description: str
    parameters: tuple[Parameter, ...] = ()


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

    description: str
    operations: tuple[Operation, ...]
    features: tuple[Feature, ...] = ()


_ID = Parameter("id", "required")


def _read_only(members: str, member: str) -> tuple[Operation, ...]:
    return (
        Operation("index", "GET", f"List {members}", (Parameter("id", "optional"),)),
        Operation("show", "GET", f"Show {member}", (_ID,)),
    )


COLLECTIONS: dict[str, Collection] = {
    "drivers": Collection("The cloud and its providers", _read_only("drivers", "a driver")),
    "realms": Collection("The availability zones of EC2", _read_only("realms", "a realm")),
    "storage_snapshots": Collection(
        "Snapshots of storage volumes",
        (
            Operation(
                "index",
                "GET",
                "List storage snapshots",
                (Parameter("id", "optional"), Parameter("owner_id", "optional")),
            ),
            Operation("show", "GET", "Show a storage snapshot", (_ID,)),
            Operation(
                "create",
                "POST",
                "Create a storage snapshot",
                (
                    Parameter("volume_id", "required"),
                    Parameter("name", "optional"),
                    Parameter("description", "optional"),
                ),
            ),
            Operation("destroy", "DELETE", "Delete a storage snapshot", (_ID,)),
        ),
        (
            Feature("owner_id", "index", "owner_id"),
            Feature("snapshot_name", "create", "name"),
            Feature("snapshot_description", "create", "description"),
        ),
    ),
    "storage_volumes": Collection(
        "Storage volumes",
        (
            *_read_only("storage volumes", "a storage volume"),
            Operation(
                "create",
                "POST",
                "Create a storage volume, empty or from a snapshot",
                (
                    Parameter("snapshot_id", "optional"),
                    Parameter("capacity", "optional"),
                    Parameter("realm_id", "optional"),
                    Parameter("name", "optional"),
                    Parameter("description", "optional"),
                ),
            ),
            Operation("destroy", "DELETE", "Delete a storage volume", (_ID,)),
            Operation(
                "attach",
                "POST",
                "Attach a storage volume to an instance",
                (_ID, Parameter("instance_id", "required"), Parameter("device", "optional")),
            ),
            Operation("detach", "POST", "Detach a storage volume from its instance", (_ID,)),
        ),
        (
            Feature("volume_name", "create", "name"),
            Feature("volume_description", "create", "description"),
        ),
    ),
}
