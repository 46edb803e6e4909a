"""Snapshot creation: one snapshot per request, although CreateSnapshot has no client token.

Each create carries tags of its own in the call that makes the snapshot. When a response is lost,
the tags tell whether there is a snapshot. When there are duplicates, the oldest usable one stays,
and each request deletes what it has made itself. The tags are the only state: replicas and restarts
make no difference. ``docs/idempotency.md`` has the states and the proof.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice, repeat
from typing import Any

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.client import back_off
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import CreatedSnapshot, Snapshot, TaggedSnapshot
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.idempotency import CREATE_TAG, Token, create_token
from dcproxy.operations.creating.outcomes import (
    KEY_HAS_OTHER_PARAMETERS,
    refused_tags,
    require_client,
    tag_specifications,
    unknown_outcome,
)
from dcproxy.operations.creating.sightings import SETTLE_SECONDS, Sightings
from dcproxy.operations.lists import paginate
from dcproxy.operations.translation import is_not_found
from dcproxy.request_log import RequestLog
from dcproxy.settings import MAX_TAGS, RESERVED_TAGS

LOOK_DELAYS = (0.5, 1.0, 2.0)
"""Seconds before each look for the snapshot of a lost response, before the create is repeated."""

SETTLE_DELAYS = (0.5, 1.0, 2.0, 4.0)
"""Seconds between looks until EC2 shows a snapshot of the create; the last one is repeated."""

RESERVED_SECONDS = SETTLE_SECONDS + 3.0
"""What a create leaves of the deadline, so that its snapshots can be looked for."""

BACKGROUND_DELAYS = (2.0, 4.0, 8.0, 16.0, *[30.0] * 9)
"""Seconds before each look for duplicates after the response: five minutes in all."""

RECENT_SECONDS = 900.0
"""Age up to which the request that made a snapshot may still delete it, clock skew included."""

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
    """Make one snapshot, whatever response is lost, and return it.

    An empty ``name`` or ``description`` is none. Raises ``EC2Error`` when EC2 refuses, and
    ``ApiError``: a 502 when it is unknown whether there is a snapshot; it names the tag.
    """
    params: dict[str, Any] = {"VolumeId": volume_id}
    if description:
        params["Description"] = description
    token = create_token(call, (volume_id, name, description))
    if token is None or call.region in call.client.regions_without_tags:
        if token is not None and token.is_keyed:
            raise ApiError(
                400, f"Idempotency-Key is not supported here: EC2 in {call.region} ignores tags."
            )
        tags = _tags(call, volume_id, name, {})
        require_client(call, "snapshot")
        return _send_once(call, params, tags)
    sightings = Sightings(token)
    if token.is_keyed:
        began_at = call.runtime.monotonic()
        sightings.add(_search(call, token), began_at, call.runtime.monotonic())
        if sightings.usable:
            return _settle(call, sightings, sends=0)
    tags = _tags(call, volume_id, name, token.tags)
    require_client(call, "snapshot")
    return _create_tagged(call, params, tags, sightings)


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


def _create_tagged(
    call: ApiCall, params: Mapping[str, Any], tags: Mapping[str, str], sightings: Sightings
) -> Snapshot:
    """Send the create until EC2 has made a snapshot, has refused, or the deadline is near."""
    token = sightings.token
    attempt = lost = 0
    while True:
        attempt += 1
        try:
            created = _send(call, params, {**token.tags, **tags})
        except EC2Error as error:
            if not lost and _refuses_tags(error):
                return _create_without_tags(call, params, tags, token, error)
            lost += error.outcome is Outcome.UNKNOWN
            could_look = not lost or math.isfinite(_look(call, sightings, LOOK_DELAYS, lost))
            if sightings.usable:
                return _settle(call, sightings, sends=lost)
            pause = back_off(call.runtime, attempt)
            may_repeat = (
                could_look
                and error.outcome is not Outcome.REFUSED
                and attempt < call.settings.retry_attempts
                and call.runtime.monotonic() + pause < call.deadline - RESERVED_SECONDS
            )
            if not may_repeat:
                if not lost:
                    raise
                _settle_in_background(call, sightings, sends=lost, answered=None)
                raise _unknown(error, token) from error
            call.runtime.sleep(pause)
            call.log.retries += 1
        else:
            if not created.is_tagged:
                return _without_tags(call, created.snapshot)
            sightings.add_created(created.snapshot)
            return _settle(call, sightings, sends=lost + 1)


def _without_tags(call: ApiCall, snapshot: Snapshot) -> Snapshot:
    """Note that EC2 ignores tags: no snapshot can be found by them, and none is deleted."""
    if call.region not in call.client.regions_without_tags:
        call.client.regions_without_tags.add(call.region)
        log.warning(
            "EC2 in %s ignores tags: a lost response may leave a duplicate; set create_tag = off",
            call.region,
            extra={"request_id": call.log.request_id},
        )
    return snapshot


def _settle(call: ApiCall, sightings: Sightings, *, sends: int) -> Snapshot:
    """Look until no older snapshot can appear, delete duplicates, and return the one that stays.

    ``sends`` is the number of snapshots that this request may have made.
    """
    token = sightings.token
    is_settled = _has_all(sightings, sends)
    delays = chain(SETTLE_DELAYS, repeat(SETTLE_DELAYS[-1]))
    while not is_settled:
        now = call.runtime.monotonic()
        wake = now + next(delays)
        if math.isfinite(sightings.settled_at):
            wake = max(wake, sightings.settled_at)
        if wake > call.deadline:
            break
        searched_at = _look(call, sightings, [wake - now], sends)
        is_settled = searched_at >= sightings.settled_at or _has_all(sightings, sends)
    answered = sightings.best.snapshot.id if is_settled or not token.is_keyed else None
    is_clean = is_settled and sightings.own_count >= sends
    if is_settled:
        is_clean &= _delete_duplicates(call, sightings, answered)
    if not is_clean:
        _settle_in_background(call, sightings, sends=sends, answered=answered)
    if answered is None:
        message = "EC2 has not shown in time whether there is another one with this key."
        raise _unknown(EC2Error(message, Outcome.UNKNOWN), token)
    return _answer(call, sightings, sends)


def _has_all(sightings: Sightings, sends: int) -> bool:
    """Tell whether nothing is left to look for. With a key, others may have made snapshots."""
    return not sightings.token.is_keyed and sightings.own_count >= sends


def _answer(call: ApiCall, sightings: Sightings, sends: int) -> Snapshot:
    """Return the snapshot that stays, or raise the ``ApiError`` that the client is told instead."""
    best = sightings.best
    if best.tags[0] != sightings.token.value:
        raise ApiError(422, KEY_HAS_OTHER_PARAMETERS)
    if best.has_failed:
        message = f"EC2 could not complete the snapshot {best.snapshot.id}: its state is error."
        if sightings.own_count < sends:
            raise _unknown(EC2Error(message, Outcome.UNKNOWN), sightings.token)
        raise ApiError(502, message)
    if _may_be_deleted(call, sightings):
        raise ApiError(502, "Another request with this Idempotency-Key is in progress.")
    return best.snapshot


def _may_be_deleted(call: ApiCall, sightings: Sightings) -> bool:
    """Tell whether another request may still delete the best snapshot, which it has made.

    EC2's reads may hide from it that an older snapshot has failed.
    """
    best = sightings.best
    age = call.runtime.unix_time() - best.snapshot.start_timestamp
    is_foreign = not sightings.token.made(best)
    return is_foreign and best is not sightings.oldest and age < RECENT_SECONDS


def _delete_duplicates(call: ApiCall, sightings: Sightings, answered: str | None) -> bool:
    """Delete what this request has made in addition to the snapshot that stays.

    With a key, a failed or older snapshot is not deleted: other requests may have named it.
    Returns whether all were deleted. One that EC2 does not find may be too young for its reads.
    """
    best = sightings.best
    kept = {best.snapshot.id, answered}
    if not sightings.token.is_keyed and sightings.is_usable(answered):
        # EC2 may show an older one only after the response, which names no other.
        kept = {answered}
    duplicates = [
        tagged
        for tagged in sightings.own
        if tagged.snapshot.id not in kept
        and (
            not sightings.token.is_keyed
            or (tagged.creation_order > best.creation_order and not tagged.has_failed)
        )
    ]
    is_clean = True
    for tagged in duplicates:
        is_deleted = _delete(call, tagged.snapshot.id)
        is_clean &= is_deleted
        if is_deleted:
            sightings.remove(tagged)
    return is_clean


def _settle_in_background(
    call: ApiCall, sightings: Sightings, *, sends: int, answered: str | None
) -> None:
    """Go on looking for duplicates after the response, and record that there may be some."""
    log_of_request = call.log
    log_of_request.create_is_unsettled = True
    log.warning(
        "a create is not settled: %d of at most %d snapshots were found by the tag %s=%s",
        sightings.own_count,
        sends,
        CREATE_TAG,
        sightings.token.value,
        extra={"request_id": log_of_request.request_id},
    )
    deadline = call.runtime.monotonic() + sum(BACKGROUND_DELAYS) + RESERVED_SECONDS
    # The log line of the request is written by then: its call must not change any more.
    unlogged = RequestLog(log_of_request.request_id, log_of_request.method, log_of_request.path)
    later = replace(call, deadline=deadline, log=unlogged)

    def look_for_duplicates() -> None:
        for delay in BACKGROUND_DELAYS:
            is_settled = _look(later, sightings, [delay], sends) >= sightings.settled_at
            is_clean = is_settled and _delete_duplicates(later, sightings, answered)
            if is_clean and sightings.own_count >= sends:
                return

    call.runtime.run_in_background(look_for_duplicates)


def _refuses_tags(error: EC2Error) -> bool:
    """Tell whether EC2 may accept the create without tags: it has done nothing yet."""
    return error.outcome is Outcome.REFUSED and error.code in _CODES_OF_REFUSED_TAGS


def _create_without_tags(
    call: ApiCall, params: Mapping[str, Any], tags: Mapping[str, str], token: Token, error: EC2Error
) -> Snapshot:
    """Make a snapshot where EC2 refuses its tags, unless it cannot do without them.

    ``tags`` are those that it needs. The create is never sent again.
    """
    is_needed = bool(tags) or token.is_keyed
    if is_needed and error.code != "UnauthorizedOperation":
        raise error
    if is_needed:
        raise refused_tags(error, tags) from error
    return _send_once(call, params, {})


def _send(call: ApiCall, params: Mapping[str, Any], tags: Mapping[str, str]) -> CreatedSnapshot:
    return replace(call, deadline=call.deadline - RESERVED_SECONDS).ec2(
        partial(reader.created_snapshot, tag=CREATE_TAG),
        "CreateSnapshot",
        is_repeatable=False,
        **params,
        **tag_specifications("snapshot", tags),
    )


def _send_once(call: ApiCall, params: Mapping[str, Any], tags: Mapping[str, str]) -> Snapshot:
    try:
        return _send(call, params, tags).snapshot
    except EC2Error as error:
        if error.outcome is not Outcome.UNKNOWN:
            raise
        raise _unknown(error, None) from error


def _unknown(error: EC2Error, token: Token | None) -> ApiError:
    look = f": look for the tag {CREATE_TAG}={token.value}" if token else ""
    is_keyed = token is not None and token.is_keyed
    return unknown_outcome(error, "snapshot", look, is_keyed=is_keyed)


def _look(call: ApiCall, sightings: Sightings, delays: Sequence[float], sends: int) -> float:
    """Search for the snapshots of a token after each delay, until all of this request are found.

    Returns when the last successful search began; minus infinity when all have failed.
    """
    succeeded_at = -math.inf
    for delay in delays:
        if call.runtime.monotonic() + delay > call.deadline:
            break
        call.runtime.sleep(delay)
        began_at = call.runtime.monotonic()
        try:
            found = _search(call, sightings.token)
            sightings.add(found, began_at, call.runtime.monotonic())
        except EC2Error as error:
            log.warning(
                "cannot look for the snapshots of a create: %s",
                error,
                extra={"request_id": call.log.request_id},
            )
        else:
            succeeded_at = began_at
        if sightings.own_count >= sends > 0:
            break
    return succeeded_at


def _search(call: ApiCall, token: Token) -> list[TaggedSnapshot]:
    pages = paginate(
        call,
        lambda response: reader.tagged_snapshots(response, tuple(token.tags)),
        "DescribeSnapshots",
        is_streamed=False,
        MaxResults=call.settings.page_size,
        OwnerIds=["self"],
        Filters=[{"Name": f"tag:{CREATE_TAG}", "Values": [token.filter]}],
    )
    # Some clouds ignore filters.
    records = chain.from_iterable(page.records for page in pages)
    return [tagged for tagged in records if token.matches(tagged)]


def _delete(call: ApiCall, id: str) -> bool:
    try:
        read = partial(reader.deleted, action="DeleteSnapshot")
        call.ec2(read, "DeleteSnapshot", SnapshotId=id)
    except EC2Error as error:
        if not is_not_found(error):
            log.error(
                "the duplicate snapshot %s could not be deleted: %s",
                id,
                error,
                extra={"request_id": call.log.request_id},
            )
        return False
    return True
