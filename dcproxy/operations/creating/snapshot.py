"""Snapshot creation, although CreateSnapshot has no client token.

Each create sets tags of its own in the call that makes the snapshot. When a response is lost, a
search by the tag tells whether there is a snapshot. The tags are the only memory that lasts, so
replicas and restarts make no difference. ``docs/idempotency.md`` has the promise and the states.
"""

import logging
from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any

from dcproxy.deltacloud.errors import RETRY_AFTER, ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import Snapshot, TaggedSnapshot
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.idempotency import CREATE_TAG, Token, create_token, in_turn
from dcproxy.operations.creating.ladder import (
    LOOK_DELAYS,
    carry_out,
    look_repeatedly,
    unknown_outcome,
)
from dcproxy.operations.creating.outcomes import refused_tags, require_client, tag_specifications
from dcproxy.operations.lists import paginate
from dcproxy.settings import MAX_TAGS, RESERVED_TAGS

SHOW_DELAYS = (*LOOK_DELAYS, 1.5)
"""Seconds before each search until EC2 shows a new snapshot with a key: 5 seconds in all."""

_CODES_OF_REFUSED_TAGS = {
    "InvalidParameter",
    "InvalidParameterValue",
    "InvalidRequest",
    "UnauthorizedOperation",
    "UnknownParameter",
    "UnsupportedOperation",
}
"""Codes of callers who may create but not tag, and of clouds that do not know the parameter."""

log = logging.getLogger(__name__)


def create_snapshot(call: ApiCall, volume_id: str, name: str, description: str) -> Snapshot:
    """Make one snapshot and return it; with an Idempotency-Key, perhaps one that exists.

    An empty ``name`` or ``description`` is none. Raises ``EC2Error`` when EC2 refuses, and
    ``ApiError``: a 422 for a key with other parameters, and a 502 when it is unknown whether there
    is a snapshot; it names the tag.
    """
    params = {"VolumeId": volume_id} | ({"Description": description} if description else {})
    token = create_token(call, volume_id, name, description)
    if token is None:
        return _create_once(call, params, _tags(call, volume_id, name, {}))
    with in_turn(call, token):
        creation = _Creation(call, token)
        if token.is_keyed and (earlier := creation.find_earlier()):
            return earlier
        tags = _tags(call, volume_id, name, token.tags)
        require_client(call, "snapshot")
        try:
            return creation.create(params, tags)
        except EC2Error as error:
            refuses_tags = error.outcome is Outcome.REFUSED and error.code in _CODES_OF_REFUSED_TAGS
            is_needed = bool(tags) or token.is_keyed
            if refuses_tags and is_needed and error.code == "UnauthorizedOperation":
                raise refused_tags(error, tags) from error
            if is_needed or not refuses_tags:
                raise
    return _create_once(call, params, {})


def _tags(call: ApiCall, volume_id: str, name: str, others: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a new snapshot, apart from ``others``: ours, then those of its volume."""
    tags = dict(call.settings.tags) | ({"Name": name} if name else {})
    if not call.settings.copy_tags:
        return tags
    of_volume = call.ec2(reader.volume_tags, "DescribeVolumes", VolumeIds=[volume_id])
    copied = {
        key: value
        for key, value in sorted(of_volume)
        # Tags of another create would let its search find this snapshot.
        if key not in tags and not key.lower().startswith(RESERVED_TAGS)
    }
    return tags | dict(islice(copied.items(), MAX_TAGS - len(tags) - len(others)))


def _create_once(call: ApiCall, params: Mapping[str, Any], tags: Mapping[str, str]) -> Snapshot:
    """Send a create that no search can find, so that it is never sent again."""
    require_client(call, "snapshot")
    try:
        return _send(call, params, tags)
    except EC2Error as error:
        if error.outcome is Outcome.UNKNOWN:
            raise unknown_outcome(error, "made a snapshot", None) from error
        raise


def _send(call: ApiCall, params: Mapping[str, Any], tags: Mapping[str, str]) -> Snapshot:
    params = {**params, **tag_specifications("snapshot", tags)}
    return call.ec2(reader.created_snapshot, "CreateSnapshot", is_repeatable=False, **params)


class _Creation:
    """The create of one request, and the snapshots with its token.

    ``known`` are those that a response or a search has shown, by id; ``is_shown``: a search has
    shown one of this request. ``sends`` counts the creates that may have succeeded.
    """

    def __init__(self, call: ApiCall, token: Token) -> None:
        self.call = call
        self.token = token
        self.known: dict[str, TaggedSnapshot] = {}
        self.is_shown = False
        self.sends = 0

    def find_earlier(self) -> Snapshot | None:
        """Return the oldest usable snapshot of an Idempotency-Key.

        Raises a 422 ``ApiError`` when only requests with other parameters have made some.
        """
        self._search()
        if usable := self._usable():
            return usable[0].snapshot
        if any(not tagged.has_failed for tagged in self.known.values()):
            message = "This Idempotency-Key was used with other parameters: use a new key."
            raise ApiError(422, message)
        return None

    def create(self, params: Mapping[str, Any], tags: Mapping[str, str]) -> Snapshot:
        """Make a snapshot and return the one that stays."""
        carry_out(
            self.call,
            lambda call: self._send(call, params, {**self.token.tags, **tags}),
            lambda error: self._search(),
            self._unknown,
            # A repetition of the request finds what this one has made.
            resends_lost=not self.token.is_keyed,
        )
        if self.token.is_keyed:
            self._wait_until_shown()
        elif self.sends > 1:
            self._delete_others()
        return self._best().snapshot

    def _send(
        self, call: ApiCall, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> list[TaggedSnapshot]:
        try:
            snapshot = _send(call, params, tags)
        except EC2Error as error:
            self.sends += error.outcome is Outcome.UNKNOWN
            raise
        self.sends += 1
        created = TaggedSnapshot(snapshot, tuple(self.token.tags.values()))
        self.known[snapshot.id] = created
        return [created]

    def _search(self) -> list[TaggedSnapshot] | None:
        """Search by the tag; return the snapshots of this request, None when EC2 shows none."""
        token = self.token
        value = f"{token.prefix}*" if token.is_keyed else token.value
        pages = paginate(
            self.call,
            lambda response: reader.tagged_snapshots(response, tuple(token.tags)),
            "DescribeSnapshots",
            is_streamed=False,
            is_follow_up=self.sends > 0,
            MaxResults=self.call.settings.page_size,
            OwnerIds=["self"],
            Filters=[{"Name": f"tag:{CREATE_TAG}", "Values": [value]}],
        )
        found = [
            tagged
            for page in pages
            for tagged in page.records
            # Some clouds ignore filters.
            if tagged.tags[0].startswith(token.prefix)
        ]
        # A search may miss what an earlier one or a response of EC2 has shown.
        own = {id: tagged for id, tagged in self.known.items() if token.made(tagged)}
        self.known = own | {tagged.snapshot.id: tagged for tagged in found}
        shown = list(filter(token.made, found))
        self.is_shown |= bool(shown)
        return shown or None

    def _wait_until_shown(self) -> None:
        """Search until EC2 shows what this request has made: repetitions must find it."""
        if not self.is_shown:
            look_repeatedly(self.call, self._search, SHOW_DELAYS)
        if not self.is_shown:
            self._report("EC2 does not show its snapshot, so that a repetition makes another one")
        if len(usable := self._usable()) > 1:
            ids = ", ".join(tagged.snapshot.id for tagged in usable)
            self._report(f"{ids} have the same Idempotency-Key")

    def _delete_others(self) -> None:
        """Search once more, and delete all snapshots of this request except the one that stays."""
        look_repeatedly(self.call, self._search, LOOK_DELAYS[-1:])
        if len(self.known) < self.sends:
            self._report(f"{len(self.known)} of at most {self.sends} snapshots were found")
        kept = self._best().snapshot.id
        for id in [id for id in self.known if id != kept]:
            try:
                read = partial(reader.deleted, action="DeleteSnapshot")
                self.call.ec2(read, "DeleteSnapshot", is_follow_up=True, SnapshotId=id)
            except EC2Error as error:
                self._report(f"the duplicate snapshot {id} could not be deleted: {error}")

    def _usable(self) -> list[TaggedSnapshot]:
        """Return the snapshots with the same parameters that have not failed, the oldest first."""
        same = (tagged for tagged in self.known.values() if tagged.tags[0] == self.token.value)
        usable = (tagged for tagged in same if not tagged.has_failed)
        return sorted(usable, key=lambda tagged: tagged.creation_order)

    def _best(self) -> TaggedSnapshot:
        """Return the oldest usable snapshot, or one of this request when it has failed."""
        return (self._usable() or list(filter(self.token.made, self.known.values())))[0]

    def _unknown(self, error: EC2Error) -> ApiError:
        self._report("its outcome is unknown")
        effect = f"made a snapshot: look for the tag {CREATE_TAG}={self.token.value}"
        # Without a key, a repeated request would make a second one.
        return unknown_outcome(error, effect, RETRY_AFTER if self.token.is_keyed else None)

    def _report(self, what: str) -> None:
        """Record that there may be a snapshot that no response has named."""
        self.call.log.create_is_unsettled = True
        log.warning(
            "a create is not settled: %s; its tag is %s=%s",
            *(what, CREATE_TAG, self.token.value),
            extra={"request_id": self.call.log.request_id},
        )
