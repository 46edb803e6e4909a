"""Snapshot creation, although CreateSnapshot has no client token: tags take its place.

After a lost response, a search by the tag tells whether there is a snapshot. EC2 is the only
memory. ``docs/idempotency.md`` has the promise and the states.
"""

import logging
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from dcproxy.deltacloud.errors import RETRY_AFTER, ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import Snapshot, TaggedSnapshot
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating import idempotency, ladder
from dcproxy.operations.creating.idempotency import CREATE_TAG
from dcproxy.operations.lists import paginate
from dcproxy.settings import MAX_TAGS, RESERVED_TAGS

SHOW_DELAYS = (*ladder.LOOK_DELAYS, 1.5)
"""Seconds before each search until EC2 shows a new snapshot with a key: 5 seconds in all."""

# Codes of callers who may create but not tag, and of clouds that do not know the parameter.
_REFUSED_TAGS = re.compile(
    "InvalidParameter(Value)?|InvalidRequest|UnknownParameter|Un(authorized|supported)Operation"
)

log = logging.getLogger(__name__)


def create_snapshot(call: ApiCall, volume_id: str, name: str, description: str) -> Snapshot:
    """Make one snapshot and return it; with an Idempotency-Key, perhaps one that exists.

    An empty ``name`` or ``description`` is none. Raises ``EC2Error`` when EC2 refuses, and
    ``ApiError``: a 422 for a key with other parameters, and a 502 that names the snapshot when it
    has failed, and the tag when it is unknown whether there is one.
    """
    params = {"VolumeId": volume_id} | ({"Description": description} if description else {})
    identity = idempotency.create_tags(call, volume_id, name, description)
    if not identity:
        return _create_once(call, params, _tags(call, volume_id, name, {}))
    creation = _Creation(call, identity)
    with idempotency.in_turn(call, creation.prefix):
        if creation.is_keyed and (earlier := creation.find_earlier()):
            return earlier
        tags = _tags(call, volume_id, name, identity)
        idempotency.require_client(call, "snapshot")
        try:
            return creation.create(
                params | idempotency.tag_specifications("snapshot", identity | tags)
            )
        except EC2Error as error:
            if error.outcome is not Outcome.REFUSED or not _REFUSED_TAGS.fullmatch(error.code):
                raise
            if tags or creation.is_keyed:
                idempotency.explain_refusal(error, tags)
                raise
    return _create_once(call, params, {})  # EC2 refuses our tags only


def _tags(call: ApiCall, volume_id: str, name: str, others: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a new snapshot, apart from ``others``: ours, then those of its volume."""
    tags = dict(call.settings.tags) | ({"Name": name} if name else {})
    if call.settings.copy_tags:
        of_volume = call.ec2(reader.volume_tags, "DescribeVolumes", VolumeIds=[volume_id])
        for key, value in sorted(of_volume):
            has_room = len(tags) + len(others) < MAX_TAGS
            # Tags of another create would let its search find this snapshot.
            if has_room and key not in tags and not key.lower().startswith(RESERVED_TAGS):
                tags[key] = value
    return tags


def _create_once(call: ApiCall, params: Mapping[str, Any], tags: Mapping[str, str]) -> Snapshot:
    """Send a create that no search can find, so that it is never sent again."""
    idempotency.require_client(call, "snapshot")
    with ladder.unknown_outcome("made a snapshot", is_repeatable=False):
        return _send(call, {**params, **idempotency.tag_specifications("snapshot", tags)})


def _send(call: ApiCall, params: Mapping[str, Any]) -> Snapshot:
    return call.ec2(reader.created_snapshot, "CreateSnapshot", is_repeatable=False, **params)


class _Creation:
    """The create of one request, identified by its ``tags``.

    ``known`` are the snapshots with its key, or with its tag without one, that a response or a
    search has shown, by id.
    """

    def __init__(self, call: ApiCall, tags: Mapping[str, str]) -> None:
        self.call = call
        self.tags = tags
        self.value, self.request = tags.values()
        key, hyphen, _ = self.value.partition("-")
        self.prefix, self.is_keyed = key + hyphen, bool(hyphen)
        self.pattern = f"{self.prefix}*" if self.is_keyed else self.value
        self.known: dict[str, TaggedSnapshot] = {}

    def find_earlier(self) -> Snapshot | None:
        """Return the oldest usable snapshot of an Idempotency-Key.

        Raises a 422 ``ApiError`` when only requests with other parameters have made some.
        """
        self._search(is_follow_up=False)
        if usable := self._usable():
            return usable[0]
        if any(not tagged.has_failed for tagged in self.known.values()):
            message = "This Idempotency-Key was used with other parameters: use a new key."
            raise ApiError(422, message)
        return None

    def create(self, params: Mapping[str, Any]) -> Snapshot:
        """Send the create, search after a lost response, and return the snapshot that stays."""
        made = f"look for the tag {CREATE_TAG}={self.value}"
        with ladder.unknown_outcome(f"made a snapshot: {made}", is_repeatable=self.is_keyed):
            try:
                # With a key, a repeated request finds what this one has made.
                snapshot, sends = ladder.carry_out(
                    self.call,
                    lambda call: _send(call, params),
                    lambda error: self._search(),
                    resends_lost=not self.is_keyed,
                )
            except EC2Error as error:
                if error.may_have_effect:
                    self._report("its outcome is unknown")
                raise
        is_shown = snapshot.id in self.known  # by a search
        self.known.setdefault(snapshot.id, TaggedSnapshot(snapshot, (self.value, self.request)))
        if self.is_keyed:
            # Repetitions must find it.
            if not (is_shown or ladder.look_repeatedly(self.call, self._search, SHOW_DELAYS)[0]):
                self._report(
                    "EC2 does not show its snapshot, so that a repetition makes another one"
                )
            if len(usable := self._usable()) > 1:
                ids = ", ".join(snapshot.id for snapshot in usable)
                self._report(f"{ids} have the same Idempotency-Key")
        elif sends > 1:
            self._delete_others(sends)
        if usable := self._usable():
            return usable[0]
        failed = [id for id, (_, tags) in self.known.items() if tags[1] == self.request]
        message = f"EC2 could not complete the snapshot {failed[0]}: its state is error."
        if len(failed) < sends:
            message += f" It is not known whether EC2 has made another one: {made}."
        # Without a key, a repeated request would make another snapshot.
        raise ApiError(502, message, retry_after=RETRY_AFTER if self.is_keyed else None)

    def _search(self, *, is_follow_up: bool = True) -> Snapshot | None:
        """Search by the tag; return a snapshot of this request, None when EC2 shows none."""
        pages = paginate(
            self.call,
            partial(reader.tagged_snapshots, keys=tuple(self.tags)),
            "DescribeSnapshots",
            is_streamed=False,
            is_follow_up=is_follow_up,
            MaxResults=self.call.settings.page_size,
            OwnerIds=["self"],
            Filters=[{"Name": f"tag:{CREATE_TAG}", "Values": [self.pattern]}],
        )
        found = [tagged for page in pages for tagged in page.records]
        # Some clouds ignore filters.
        found = [tagged for tagged in found if tagged.tags[0].startswith(self.prefix)]
        # A search may miss what an earlier one or a response of EC2 has shown.
        self.known |= {tagged.snapshot.id: tagged for tagged in found}
        own = (snapshot for snapshot, tags in found if tags[1] == self.request)
        return next(own, None)

    def _delete_others(self, sends: int) -> None:
        """Search once more, and delete all snapshots of this request except the one that stays."""
        ladder.look_repeatedly(self.call, self._search, ladder.LOOK_DELAYS[-1:])
        if len(self.known) < sends:
            self._report(f"{len(self.known)} of at most {sends} snapshots were found")
        usable = [snapshot.id for snapshot in self._usable()]
        for id in sorted(self.known, key=lambda id: id not in usable[:1])[1:]:
            try:
                read = partial(reader.deleted, action="DeleteSnapshot")
                self.call.ec2(read, "DeleteSnapshot", is_follow_up=True, SnapshotId=id)
            except EC2Error as error:
                self._report(f"the duplicate snapshot {id} could not be deleted: {error}")

    def _usable(self) -> list[Snapshot]:
        """Return the snapshots with the same parameters that have not failed, the oldest first."""
        oldest_first = sorted(self.known.values(), key=lambda tagged: tagged.creation_order)
        return [
            tagged.snapshot
            for tagged in oldest_first
            if tagged.tags[0] == self.value and not tagged.has_failed
        ]

    def _report(self, what: str) -> None:
        """Record that there may be a snapshot that no response has named."""
        self.call.log.create_is_unsettled = True
        log.warning(
            "a create is not settled: %s; its tag is %s=%s",
            *(what, CREATE_TAG, self.value),
            extra={"request_id": self.call.log.request_id},
        )
