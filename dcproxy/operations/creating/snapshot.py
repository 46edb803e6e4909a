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
from dcproxy.operations.creating.idempotency import CREATE_TAG, Token
from dcproxy.operations.creating.ladder import LOOK_DELAYS
from dcproxy.operations.lists import paginate
from dcproxy.settings import MAX_TAGS, RESERVED_TAGS

SHOW_DELAYS = (*LOOK_DELAYS, 1.5)
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
    token = idempotency.create_token(call, volume_id, name, description)
    if token is None:
        return _create_once(call, params, _tags(call, volume_id, name, {}))
    with idempotency.in_turn(call, token):
        creation = _Creation(call, token)
        if token.is_keyed and (earlier := creation.find_earlier()):
            return earlier
        tags = _tags(call, volume_id, name, token.tags)
        idempotency.require_client(call, "snapshot")
        try:
            return creation.create(
                params | idempotency.tag_specifications("snapshot", token.tags | tags)
            )
        except EC2Error as error:
            is_refusal = error.outcome is Outcome.REFUSED and _REFUSED_TAGS.fullmatch(error.code)
            is_needed = bool(tags) or token.is_keyed
            if is_refusal and is_needed and error.code == "UnauthorizedOperation":
                raise idempotency.refused_tags(error, tags) from error
            if is_needed or not is_refusal:
                raise
    return _create_once(call, params, {})


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
    try:
        return _send(call, {**params, **idempotency.tag_specifications("snapshot", tags)})
    except EC2Error as error:
        if error.may_have_effect:
            raise ladder.unknown_outcome(error, "made a snapshot", None) from error
        raise


def _send(call: ApiCall, params: Mapping[str, Any]) -> Snapshot:
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
            return usable[0]
        if any(not tagged.has_failed for tagged in self.known.values()):
            message = "This Idempotency-Key was used with other parameters: use a new key."
            raise ApiError(422, message)
        return None

    def create(self, params: Mapping[str, Any]) -> Snapshot:
        """Send the create, search after a lost response, and return the snapshot that stays."""
        is_keyed = self.token.is_keyed
        # Without a key, a repeated request would make another snapshot.
        retry_after = RETRY_AFTER if is_keyed else None
        made = f"look for the tag {CREATE_TAG}={self.token.value}"
        try:
            ladder.carry_out(
                self.call,
                lambda call: self._send(call, params),
                lambda error: self._search(),
                # With a key, a repeated request finds what this one has made.
                resends_lost=not is_keyed,
            )
        except EC2Error as error:
            if not error.may_have_effect:
                raise
            self._report("its outcome is unknown")
            raise ladder.unknown_outcome(error, f"made a snapshot: {made}", retry_after) from error
        if is_keyed:
            self._wait_until_shown()
        elif self.sends > 1:
            self._delete_others()
        if usable := self._usable():
            return usable[0]
        failed = [id for id, tagged in self.known.items() if self.token.made(tagged)]
        message = f"EC2 could not complete the snapshot {failed[0]}: its state is error."
        if len(failed) < self.sends:
            message += f" It is not known whether EC2 has made another one: {made}."
        raise ApiError(502, message, retry_after=retry_after)

    def _send(self, call: ApiCall, params: Mapping[str, Any]) -> Snapshot:
        try:
            snapshot = _send(call, params)
        except EC2Error as error:
            self.sends += error.outcome is Outcome.UNKNOWN
            raise
        self.sends += 1
        self.known[snapshot.id] = TaggedSnapshot(snapshot, tuple(self.token.tags.values()))
        return snapshot

    def _search(self) -> Snapshot | None:
        """Search by the tag; return a snapshot of this request, None when EC2 shows none."""
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
        found = [tagged for page in pages for tagged in page.records]
        # Some clouds ignore filters.
        found = [tagged for tagged in found if tagged.tags[0].startswith(token.prefix)]
        # A search may miss what an earlier one or a response of EC2 has shown.
        self.known |= {tagged.snapshot.id: tagged for tagged in found}
        shown = next((tagged.snapshot for tagged in found if token.made(tagged)), None)
        self.is_shown |= shown is not None
        return shown

    def _wait_until_shown(self) -> None:
        """Search until EC2 shows what this request has made: repetitions must find it."""
        if not self.is_shown:
            ladder.look_repeatedly(self.call, self._search, SHOW_DELAYS)
        if not self.is_shown:
            self._report("EC2 does not show its snapshot, so that a repetition makes another one")
        if len(usable := self._usable()) > 1:
            ids = ", ".join(snapshot.id for snapshot in usable)
            self._report(f"{ids} have the same Idempotency-Key")

    def _delete_others(self) -> None:
        """Search once more, and delete all snapshots of this request except the one that stays."""
        ladder.look_repeatedly(self.call, self._search, LOOK_DELAYS[-1:])
        if len(self.known) < self.sends:
            self._report(f"{len(self.known)} of at most {self.sends} snapshots were found")
        usable = [snapshot.id for snapshot in self._usable()]
        for id in sorted(self.known, key=lambda id: id not in usable[:1])[1:]:
            try:
                read = partial(reader.deleted, action="DeleteSnapshot")
                self.call.ec2(read, "DeleteSnapshot", is_follow_up=True, SnapshotId=id)
            except EC2Error as error:
                self._report(f"the duplicate snapshot {id} could not be deleted: {error}")

    def _usable(self) -> list[Snapshot]:
        """Return the snapshots with the same parameters that have not failed, the oldest first."""
        same = [tagged for tagged in self.known.values() if tagged.tags[0] == self.token.value]
        usable = [tagged for tagged in same if not tagged.has_failed]
        return [tagged.snapshot for tagged in sorted(usable, key=lambda t: t.creation_order)]

    def _report(self, what: str) -> None:
        """Record that there may be a snapshot that no response has named."""
        self.call.log.create_is_unsettled = True
        log.warning(
            "a create is not settled: %s; its tag is %s=%s",
            *(what, CREATE_TAG, self.token.value),
            extra={"request_id": self.call.log.request_id},
        )
