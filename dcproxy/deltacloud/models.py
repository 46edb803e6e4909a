"""What Deltacloud documents say, ready to be written in any format.

Texts may hold any character of XML: renderers escape them. ``created`` is the text of the document,
such as ``Thu Jul 28 21:54:19 UTC 2011``, and ``created_iso`` the same time as ISO 8601 in UTC.
Unknown values are empty texts; an id is never empty.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dcproxy.deltacloud.protocol import Action, Collection


class SnapshotDetails(NamedTuple):
    """What pages show of a snapshot in addition; None stands for unknown values too.

    ``progress`` is in percent, ``capacity`` in GB.
    """

    progress: int | None = None
    capacity: int | None = None
    owner_id: str = ""
    is_encrypted: bool | None = None


UNKNOWN_DETAILS = SnapshotDetails()


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
    details: SnapshotDetails = UNKNOWN_DETAILS

    @property
    def is_pending(self) -> bool:
        """Whether EC2 is still making the snapshot."""
        return self.state == "pending"


class Mount(NamedTuple):
    """An instance that has a volume, and the device which the volume is there."""

    instance_id: str
    device: str


class StorageVolume(NamedTuple):
    """A storage volume. XML and JSON have room for the first of its mounts only.

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
    mounts: Sequence[Mount]
    actions: Sequence[Action]

    @property
    def is_pending(self) -> bool:
        """Whether EC2 is still making the volume."""
        return self.state == "CREATING"


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


Model = StorageSnapshot | StorageVolume | Realm | Driver | Collection
"""A member of a collection; a collection is a member of ``docs``."""


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
