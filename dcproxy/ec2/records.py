"""Records of native EC2, as its API reference names them.

An absent or unreadable element is an empty text, but every record has its id. Texts are as EC2
wrote them: whatever XML can hold.
"""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar


class Snapshot(NamedTuple):
    """An EBS snapshot. ``start_time`` is ISO 8601 in UTC, such as 2011-07-28T21:54:19.000Z.

    ``details`` are empty, or what only pages show: progress such as ``80%``, size in GiB, id of the
    owner, and whether it is encrypted: ``true`` or ``false``.
    """

    id: str
    volume_id: str
    start_time: str
    status: str
    description: str
    name: str
    details: tuple[str, ...] = ()


class TaggedSnapshot(NamedTuple):
    """A snapshot and the values of some of its tags."""

    snapshot: Snapshot
    tags: tuple[str, ...]

    @property
    def creation_order(self) -> tuple[str, str]:
        """Sorts snapshots from the oldest to the youngest."""
        return self.snapshot.start_time, self.snapshot.id

    @property
    def has_failed(self) -> bool:
        """Whether EC2 could not complete the snapshot."""
        return self.snapshot.status == "error"


class Attachment(NamedTuple):
    """A volume at an instance.

    ``status`` is ``attaching``, ``attached``, ``detaching``, ``detached``, or ``busy``: it is being
    detached, and the instance has not released it.
    """

    instance_id: str
    device: str
    status: str


class Volume(NamedTuple):
    """An EBS volume. ``size`` is in GiB, ``create_time`` as the ``start_time`` of a snapshot.

    ``name`` and ``description`` are tags. A volume with Multi-Attach may have several attachments.
    """

    id: str
    zone: str
    create_time: str
    status: str
    size: str
    name: str
    description: str
    attachments: tuple[Attachment, ...]

    @property
    def mounts(self) -> Sequence[Attachment]:
        """The attachments that hold; when none does, those that are being detached."""
        present = [attached for attached in self.attachments if attached.status != "detached"]
        return [attached for attached in present if attached.status != "detaching"] or present


class Zone(NamedTuple):
    """``type`` is ``availability-zone``, ``local-zone`` or ``wavelength-zone``."""

    name: str
    state: str
    type: str


Record = TypeVar("Record")


class Page(NamedTuple, Generic[Record]):
    """One page of a list; ``next_token`` requests the next one and is empty on the last."""

    records: list[Record]
    next_token: str
