"""What makes a create repeatable: its tags, its client token and the Idempotency-Key."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2.errors import EC2Error
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.ladder import RESERVED_SECONDS
from dcproxy.operations.translation import api_error

CREATE_TAG = "dcproxy:create"
REQUEST_TAG = "dcproxy:request"
"""Distinguishes the snapshots of this request from those of others with the same key."""

# A String of RFC 8941, as the IETF draft has it; without its quotes too, as many clients send it.
_KEY = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"|([\w.:/+=-]{1,255})', re.A)

_turns: dict[Any, object] = {}
"""The requests of this process that create with a key."""


def create_tags(call: ApiCall, *parameters: str) -> dict[str, str]:
    """Return the tags that identify a create; none when the option ``create_tag`` is off.

    With an Idempotency-Key, the first one is the digest of the key, a hyphen and the digest of the
    parameters. Raises a 400 ``ApiError`` for a key that is malformed or not supported.
    """
    key, request = _digest_of_key(call), _random(call)
    if call.settings.create_tag:
        value = f"{key}-{_digest(*parameters)}" if key else request
        return {CREATE_TAG: value, REQUEST_TAG: request}
    if key:
        raise ApiError(400, "Idempotency-Key is not supported here: create_tag is off.")
    return {}


def client_token(call: ApiCall) -> str:
    """Return the ClientToken of a create. Raises a 400 ``ApiError`` for a malformed key."""
    return _digest_of_key(call) or _random(call)


@contextmanager
def in_turn(call: ApiCall, key: str) -> Iterator[None]:
    """Wait until no other request of this worker creates with the same ``key``, a digest.

    It counts for its credentials, so that nobody can hold up others who knows no secret. Raises a
    502 ``ApiError`` when too little time is left.
    """
    access_key = None if call.caller.is_account else call.caller.access_key(0.0)
    # The client is that of one application; a process may have several.
    turn, request = (call.client, access_key, key), object()
    # setdefault: two threads cannot both find it free. Not a lock: tests replace Runtime.sleep.
    while _turns.setdefault(turn, request) is not request:
        if call.seconds_left < RESERVED_SECONDS:
            raise ApiError(502, "Another request with this Idempotency-Key is in progress.")
        call.runtime.sleep(0.1)
    try:
        yield
    finally:
        del _turns[turn]


def require_client(call: ApiCall, kind: str) -> None:
    """Drop the create of a client that has given up waiting: it may have sent another one."""
    if call.log.client_has_left:
        raise ApiError(400, f"The client closed its connection before the {kind} was created.")


def tag_specifications(kind: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Build the parameter of a create that sets ``tags``; without tags there is none."""
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": pairs}]} if pairs else {}


def explain_refusal(error: EC2Error, tags: Mapping[str, str]) -> None:
    """Raise an ``ApiError`` that names the permission to tag, if perhaps only that is missing.

    ``tags`` are those that the create cannot do without; none stands for an Idempotency-Key.
    """
    if error.code == "UnauthorizedOperation":
        needs = f"The tags {', '.join(tags)} also need" if tags else "Idempotency-Key also needs"
        refused = api_error(error)
        refused.message += f" {needs} the permission ec2:CreateTags."
        raise refused from error


def _random(call: ApiCall) -> str:
    return f"{call.runtime.random.getrandbits(128):032x}"


def _digest(*texts: str) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()[:32]


def _digest_of_key(call: ApiCall) -> str | None:
    header = call.request.idempotency_key
    if header is None:
        return None
    match = _KEY.fullmatch(header.strip())
    if match is None:
        message = 'Idempotency-Key cannot be read: it takes one text in quotes, such as "a-1".'
        raise ApiError(400, message)
    return _digest(call.caller.name, call.region, match[1] or match[2])
