"""CreateSnapshot happens once, although EC2 gives it no client token.

Each create carries a tag of its own, in the same call that makes the snapshot. When an answer is
lost, the tag tells whether there is a snapshot; when two were made, the oldest stays. The tag is
all the memory there is: replicas and restarts make no difference.
"""

import logging
import random
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from typing import Any

from dcproxy import native
from dcproxy.errors import DeltacloudError
from dcproxy.native import Snapshot, TaggedSnapshot
from dcproxy.operations.call import Call, ask, caller_of, pages

CREATE_TAG = "dcproxy:create"
REQUEST_TAG = "dcproxy:request"
"""Tells the snapshots that one request made from those of others with the same key."""

LOOK_PAUSES = (0.5, 1.0, 2.0)
"""Seconds before each look for what a create has made: EC2's reads lag."""

SETTLE_PAUSES = (1.0,)
"""The same for what others made meanwhile with the same Idempotency-Key."""

_MAX_BACKOFF = 8.0

log = logging.getLogger(__name__)

Found = dict[str, TaggedSnapshot]
"""Snapshots of a token, by their ids."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a create is known by: ``name`` to look for, ``value`` of its tag, and its request.

    ``is_keyed``: it comes from an Idempotency-Key, so that others may use it too.
    """

    name: str
    value: str
    request: str
    is_keyed: bool

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a snapshot that is made with this token."""
        return {CREATE_TAG: self.value, REQUEST_TAG: self.request}

    def has_made(self, tagged: TaggedSnapshot) -> bool:
        """Tell whether it was this request that made a snapshot."""
        return tagged.tags[1] == self.request


def create(call: Call, volume_id: str, name: str, description: str) -> Snapshot:
    """Make one snapshot, whatever happens on the way, and give it.

    Empty ``name`` and ``description`` are none. Raises ``DeltacloudError``; when it cannot be known
    whether there is a snapshot, a 502 that says so and names the tag to look for.
    """
    wanted: dict[str, Any] = {"VolumeId": volume_id}
    if description:
        wanted["Description"] = description
    tags = {"Name": name} if name else {}
    token = _token(call, (volume_id, name, description))
    if token is None:
        return _send_once(call, wanted, tags)
    if token.is_keyed and (earlier := _look(call, token)):
        return _oldest(earlier, token)
    return _create_tagged(call, wanted, tags, token)


def _token(call: Call, parameters: Sequence[str]) -> Token | None:
    key = call.request.headers.get("Idempotency-Key")
    if not call.settings.create_tag:
        if key is not None:
            raise DeltacloudError(
                400, "Idempotency-Key is not possible here: the option create_tag is off."
            )
        return None
    request = secrets.token_hex(16)
    if key is None:
        return Token(request, request, request, is_keyed=False)
    name = _digest(caller_of(call).access_key_id, call.region, _idempotency_key(key))
    # The parameters are part of the value, so that the tag remembers them too.
    return Token(f"{name}-*", f"{name}-{_digest(*parameters)}", request, is_keyed=True)


def _digest(*texts: str) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()[:32]


# A String of RFC 8941, as the IETF draft has it; without its quotes too, as many clients send it.
_KEY = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"|([\w.:/+=-]{1,255})', re.A)


def _idempotency_key(header: str) -> str:
    match = _KEY.fullmatch(header.strip())
    if match is None:
        raise DeltacloudError(
            400, 'Idempotency-Key cannot be read: it takes one text in quotes, such as "a-1".'
        )
    return match[1] or match[2]


def _create_tagged(
    call: Call, wanted: Mapping[str, Any], tags: Mapping[str, str], token: Token
) -> Snapshot:
    found: Found = {}
    attempt = lost = 0
    while not found:
        attempt += 1
        try:
            made = _send(call, wanted, {**tags, **token.tags})
        except DeltacloudError as error:
            if error.is_refusal and error.ec2_code == "UnauthorizedOperation" and not lost:
                return _create_without_tags(call, wanted, tags, token, error)
            lost += not error.is_refusal
            has_looked = not lost or _gather(call, token, found, LOOK_PAUSES, of_ours=lost)
            may_repeat = has_looked and (error.is_passing or not error.is_refusal)
            if not found:
                if not may_repeat or attempt >= call.settings.retry_attempts:
                    raise _unknown(error, token) if lost else error from error
                call.pause(random.uniform(0, min(2.0**attempt, _MAX_BACKOFF)))  # noqa: S311
                call.trace.retries += 1
        else:
            found[made.id] = TaggedSnapshot(made, tuple(token.tags.values()))
            if lost:
                _gather(call, token, found, LOOK_PAUSES, of_ours=lost + 1)
            elif token.is_keyed:
                _gather(call, token, found, SETTLE_PAUSES, of_ours=2)
    return _leave_the_oldest(call, token, found)


def _create_without_tags(
    call: Call,
    wanted: Mapping[str, Any],
    tags: Mapping[str, str],
    token: Token,
    error: DeltacloudError,
) -> Snapshot:
    """Make a snapshot for a caller who may create it, but not tag it. Never sent again."""
    needs = "A name needs" if tags else "Idempotency-Key needs" if token.is_keyed else ""
    if needs:
        message = f"{error.message} {needs} the permission ec2:CreateTags."
        raise DeltacloudError(403, message, ec2_code=error.ec2_code) from error
    return _send_once(call, wanted, {})


def _send(call: Call, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> Snapshot:
    specifications = [
        {
            "ResourceType": "snapshot",
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        }
    ]
    parameters = {**wanted, "TagSpecifications": specifications} if tags else wanted
    return ask(call, native.created_snapshot, "create_snapshot", **parameters)


def _send_once(call: Call, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> Snapshot:
    try:
        return _send(call, wanted, tags)
    except DeltacloudError as error:
        raise error if error.is_refusal else _unknown(error, None) from error


def _unknown(error: DeltacloudError, token: Token | None) -> DeltacloudError:
    look = f": look for the tag {CREATE_TAG}={token.value}" if token else ""
    unknown = DeltacloudError(
        502,
        f"{error.message} It is not known whether EC2 has made a snapshot{look}.",
        ec2_code=error.ec2_code,
    )
    if not (token and token.is_keyed):
        # Whoever just comes back would make a second one.
        del unknown.headers["Retry-After"]
    return unknown


def _gather(
    call: Call, token: Token, found: Found, pauses: Sequence[float], *, of_ours: int
) -> bool:
    """Look for what there is by a token, and add it to ``found``.

    Looks until it shows as many of this request as there may be. Gives whether EC2 let it look.
    """
    has_looked = False
    for pause in pauses:
        call.pause(pause)
        try:
            found |= {tagged.snapshot.id: tagged for tagged in _look(call, token)}
        except DeltacloudError as error:
            log.warning(
                "cannot look for what a create has made: %s",
                error.message,
                extra={"request_id": call.trace.request_id},
            )
        else:
            has_looked = True
        if sum(map(token.has_made, found.values())) >= of_ours:
            break
    return has_looked


def _look(call: Call, token: Token) -> list[TaggedSnapshot]:
    """Find what there is by a token, the oldest first."""
    found = pages(
        call,
        lambda answer: native.tagged_snapshots(answer, tuple(token.tags)),
        "describe_snapshots",
        OwnerIds=["self"],
        Filters=[{"Name": f"tag:{CREATE_TAG}", "Values": [token.name]}],
    )
    return sorted(chain.from_iterable(page.records for page in found), key=_age)


def _leave_the_oldest(call: Call, token: Token, found: Found) -> Snapshot:
    """Delete all that this request has made but the oldest of all, and give that one."""
    oldest_first = sorted(found.values(), key=_age)
    for tagged in filter(token.has_made, oldest_first[1:]):
        _delete(call, tagged.snapshot.id)
    return _oldest(oldest_first, token)


def _delete(call: Call, id: str) -> None:
    try:
        ask(call, native.deleted, "delete_snapshot", SnapshotId=id)
    except DeltacloudError as error:
        if error.status != 404:
            log.error(
                "%s is one too many and could not be deleted: %s",
                id,
                error.message,
                extra={"request_id": call.trace.request_id},
            )


def _oldest(oldest_first: Sequence[TaggedSnapshot], token: Token) -> Snapshot:
    if oldest_first[0].tags[0] != token.value:
        raise DeltacloudError(
            422, "This Idempotency-Key was used with other parameters: take a new one."
        )
    return oldest_first[0].snapshot


def _age(tagged: TaggedSnapshot) -> tuple[str, str]:
    return tagged.snapshot.start_time, tagged.snapshot.id
