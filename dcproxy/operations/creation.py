"""CreateSnapshot happens once, although EC2 gives it no client token.

Each create carries a tag of its own, in the same call that makes the snapshot. When an answer is
lost, the tag tells whether there is a snapshot; when two were made, the oldest stays. The tag is
all the memory there is: replicas and restarts make no difference.
"""

import random
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from dcproxy import credentials, native
from dcproxy.errors import DeltacloudError
from dcproxy.native import Snapshot, TaggedSnapshot
from dcproxy.operations.call import Call, ask, log

CREATE_TAG = "dcproxy:create"

LOOK_PAUSES = (0.5, 1.0, 2.0)
"""Seconds before each look for a snapshot whose answer was lost: EC2's reads lag."""

_MAX_BACKOFF = 8.0


@dataclass(frozen=True, slots=True)
class Token:
    """What a create is known by: ``name`` to look for, ``value`` of its tag.

    ``is_keyed``: it comes from an Idempotency-Key, so that others may use it too.
    """

    name: str
    value: str
    is_keyed: bool


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
    if key is None:
        name = secrets.token_hex(16)
        return Token(name, name, is_keyed=False)
    caller = call.caller or credentials.from_request(call.request)
    name = _digest(caller.access_key_id, call.region, _idempotency_key(key))
    # The parameters are part of the value, so that the tag remembers them too.
    value = f"{name}-{_digest(*parameters)}"
    return Token(f"{name}-*", value, is_keyed=True)


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
    lost = False
    attempt = 0
    while True:
        attempt += 1
        try:
            snapshot = _send(call, wanted, {**tags, CREATE_TAG: token.value})
            return _settle(call, token, snapshot) if lost or token.is_keyed else snapshot
        except DeltacloudError as error:
            if error.ec2_code == "UnauthorizedOperation" and not lost:
                return _create_without_tags(call, wanted, tags, token, error)
            if not error.is_refusal:
                lost = True
                if found := _look_until_found(call, token):
                    return _oldest(found, token)
            may_repeat = error.is_passing or not error.is_refusal
            if not may_repeat or attempt >= call.settings.retry_attempts:
                raise _unknown(error, token) if lost else error from error
            call.pause(random.uniform(0, min(2.0**attempt, _MAX_BACKOFF)))  # noqa: S311


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
    return DeltacloudError(
        502,
        f"{error.message} It is not known whether EC2 has made a snapshot{look}.",
        ec2_code=error.ec2_code,
    )


def _look_until_found(call: Call, token: Token) -> list[TaggedSnapshot]:
    for pause in LOOK_PAUSES:
        call.pause(pause)
        try:
            if found := _look(call, token):
                return found
        except DeltacloudError as error:
            log.warning("cannot look for what a create has made: %s", error.message)
    return []


def _settle(call: Call, token: Token, made: Snapshot) -> Snapshot:
    """Leave one of all that a token has made: the oldest.

    This request deletes what it has made itself, and only that: all of it where the token is its
    own, the one it knows of where others use the token too.
    """
    known = {made.id: TaggedSnapshot(made, token.value)}
    known |= {tagged.snapshot.id: tagged for tagged in _look_until_found(call, token)}
    found = sorted(known.values(), key=_age)
    for tagged in found[1:]:
        if tagged.snapshot.id == made.id or not token.is_keyed:
            _delete(call, tagged.snapshot.id)
    return _oldest(found, token)


def _delete(call: Call, id: str) -> None:
    try:
        ask(call, native.deleted, "delete_snapshot", SnapshotId=id)
    except DeltacloudError as error:
        if error.status != 404:
            log.error("%s is one too many and could not be deleted: %s", id, error.message)


def _oldest(found: Sequence[TaggedSnapshot], token: Token) -> Snapshot:
    if found[0].tag != token.value:
        raise DeltacloudError(
            422, "This Idempotency-Key was used with other parameters: take a new one."
        )
    return found[0].snapshot


def _age(tagged: TaggedSnapshot) -> tuple[str, str]:
    return tagged.snapshot.start_time, tagged.snapshot.id


def _look(call: Call, token: Token) -> list[TaggedSnapshot]:
    """Find what there is by a token, the oldest first."""
    by_token = [{"Name": f"tag:{CREATE_TAG}", "Values": [token.name]}]
    found = ask(
        call,
        lambda answer: native.tagged_snapshots(answer, CREATE_TAG),
        "describe_snapshots",
        OwnerIds=["self"],
        Filters=by_token,
    )
    return sorted(found, key=_age)
