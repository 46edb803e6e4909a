"""The snapshots of a create as EC2 has shown them so far, although its reads lag.

Assumption: the lag of a read may be long, but lags differ by less than ``SETTLE_SECONDS``. So a
search that begins ``SETTLE_SECONDS`` after the end of one that has shown a snapshot shows every
older snapshot.
"""

import math
from collections.abc import Sequence

from dcproxy.ec2.records import Snapshot, TaggedSnapshot
from dcproxy.operations.creating.idempotency import Token

SETTLE_SECONDS = 5.0
"""Bound on the difference between the lags of EC2's reads."""


class Sightings:
    """What searches for the snapshots of ``token`` have found."""

    def __init__(self, token: Token) -> None:
        self.token = token
        self._snapshots: dict[str, TaggedSnapshot] = {}
        self._seen_at: dict[str, float] = {}
        self._own_ids: set[str] = set()

    def add(self, found: Sequence[TaggedSnapshot], began_at: float, ended_at: float) -> None:
        """Add the result of a search that took from ``began_at`` to ``ended_at``.

        A failed state is final. What an earlier search has shown, and this one had to show, was
        deleted since.
        """
        shown = {tagged.snapshot.id for tagged in found}
        kept = {
            id: tagged
            for id, tagged in self._snapshots.items()
            if id in shown or began_at < self._seen_at.get(id, math.inf) + SETTLE_SECONDS
        }
        self._snapshots = kept or self._snapshots
        for tagged in found:
            self._note_own(tagged)
            id = tagged.snapshot.id
            self._seen_at.setdefault(id, ended_at)
            if not (id in self._snapshots and self._snapshots[id].has_failed):
                self._snapshots[id] = tagged

    def add_created(self, snapshot: Snapshot) -> None:
        """Add the snapshot of a create of this request, which no search has found yet."""
        created = TaggedSnapshot(snapshot, tuple(self.token.tags.values()))
        self._note_own(created)
        self._snapshots.setdefault(snapshot.id, created)

    def _note_own(self, tagged: TaggedSnapshot) -> None:
        if self.token.made(tagged):
            self._own_ids.add(tagged.snapshot.id)

    def remove(self, tagged: TaggedSnapshot) -> None:
        """Remove a snapshot that was deleted."""
        del self._snapshots[tagged.snapshot.id]

    @property
    def usable(self) -> list[TaggedSnapshot]:
        """The snapshots that have not failed."""
        return [tagged for tagged in self._snapshots.values() if not tagged.has_failed]

    def is_usable(self, id: str | None) -> bool:
        """Tell whether a snapshot is known and has not failed."""
        return any(tagged.snapshot.id == id for tagged in self.usable)

    @property
    def own(self) -> list[TaggedSnapshot]:
        """The snapshots that this request has made."""
        return list(filter(self.token.made, self._snapshots.values()))

    @property
    def own_count(self) -> int:
        """How many snapshots this request has made, deleted ones included."""
        return len(self._own_ids)

    @property
    def oldest(self) -> TaggedSnapshot:
        """The oldest snapshot of all."""
        return min(self._snapshots.values(), key=lambda tagged: tagged.creation_order)

    @property
    def best(self) -> TaggedSnapshot:
        """The snapshot that stays: the oldest usable one, or the oldest when all have failed."""
        return min(
            self.usable or self._snapshots.values(), key=lambda tagged: tagged.creation_order
        )

    @property
    def settled_at(self) -> float:
        """When a search begins that shows every snapshot older than the best one."""
        candidates = self.usable or self._snapshots.values()
        seen = (self._seen_at.get(tagged.snapshot.id, math.inf) for tagged in candidates)
        return min(seen, default=math.inf) + SETTLE_SECONDS
