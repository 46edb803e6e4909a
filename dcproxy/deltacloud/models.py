"""What Deltacloud documents say, ready to be written in any format.

Texts may hold any character of XML: renderers escape them. ``created`` is the text of the document,
such as ``Thu Jul 28 21:54:19 UTC 2011``, and ``created_iso`` the same time as ISO 8601 in UTC.
Unknown values are empty texts; an id is never empty.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dcproxy.deltacloud.protocol import Action


class StorageSnapshot(NamedTuple):
    """A storage snapshot. ``volume_is_known``: the id of its volume leads to a document."""

    id: str
    name: str
    description: str
    created: str
    created_iso: str
    state: str
    volume_id: str
    volume_is_known: bool


class StorageVolume(NamedTuple):
    """A storage volume. ``instance_id`` and ``device`` are of its mount.

    ``capacity`` is in GB, None when unknown. ``actions`` are those that its state allows, or the
    state that it will have next.
    """

    id: str
    name: str
    description: str
    created: str
    created_iso: str
    state: str
    capacity: int | None
    realm_id: str
    instance_id: str
    device: str
    actions: Sequence[Action]


class Realm(NamedTuple):
    """A realm; its id is its name. ``limit`` is None when unlimited."""

    id: str
    state: str
    limit: int | None


class Driver(NamedTuple):
    """A driver; ``providers`` maps each provider to the host of its entry point."""

    id: str
    name: str
    providers: Mapping[str, str]


Model = StorageSnapshot | StorageVolume | Realm
"""A member of a collection."""


class ErrorDocument(NamedTuple):
    """An error and the request that failed.

    ``code`` is the EC2 error code or the reason phrase, ``url`` the path and query of the request,
    ``provider`` the one that it named, ``parameters`` those of its query and the id of its path.
    ``parameter`` is the parameter at fault, if there is one.
    """

    status: int
    reason: str
    message: str
    code: str
    url: str
    provider: str
    parameters: Mapping[str, str]
    parameter: str = ""
