"""What makes a create repeatable: its tags, its client token and the Idempotency-Key."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, NamedTuple

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.records import TaggedSnapshot
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.ladder import RESERVED_SECONDS
from dcproxy.operations.translation import api_error

CREATE_TAG = "dcproxy:create"
REQUEST_TAG = "dcproxy:request"
"""Distinguishes the snapshots of this request from those of others with the same key."""

_TURN_SECONDS = 0.1
"""Seconds between two tests whether another request with the same key has ended."""

# A String of RFC 8941, as the IETF draft has it; without its quotes too, as many clients send it.
_KEY = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"|([\w.:/+=-]{1,255})', re.A)

_turns: dict[Any, object] = {}
"""The requests of this process that create with a key."""


class Token(NamedTuple):
    """What identifies a create.

    ``value`` is the tag of its snapshots, ``prefix`` begins that of all requests with its key;
    without an Idempotency-Key, both are the same. ``request`` identifies this request.
    """

    prefix: str
    value: str
    request: str
    is_keyed: bool

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a snapshot that is made with this token."""
        return {CREATE_TAG: self.value, REQUEST_TAG: self.request}

    def made(self, tagged: TaggedSnapshot) -> bool:
        """Tell whether this request made a snapshot, given with the values of those tags."""
        return tagged.tags[1] == self.request


def create_token(call: ApiCall, *parameters: str) -> Token | None:
    """Return the token of a create; None when the option ``create_tag`` is off.

    The parameters are part of the value, so that the tag records them too. Raises a 400
    ``ApiError`` for an Idempotency-Key that is malformed or not supported.
    """
    key, request = _digest_of_key(call), _random(call)
    if not call.settings.create_tag:
        if key:
            raise ApiError(400, "Idempotency-Key is not supported here: create_tag is off.")
        return None
    if not key:
        return Token(request, request, request, is_keyed=False)
    return Token(f"{key}-", f"{key}-{_digest(*parameters)}", request, is_keyed=True)


def client_token(call: ApiCall) -> str:
    """Return the ClientToken of a create, which EC2 keeps with the parameters of the create.

    Without an Idempotency-Key it is random. Raises a 400 ``ApiError`` for a malformed one.
    """
    return _digest_of_key(call) or _random(call)


@contextmanager
def in_turn(call: ApiCall, token: Token) -> Iterator[None]:
    """Wait until no other request of this worker creates with the same key.

    A key counts for its credentials, so that nobody can hold up others who knows no secret. Raises
    a 502 ``ApiError`` when too little time is left.
    """
    access_key = None if call.caller.is_account else call.caller.access_key(0.0)
    # The client is that of one application; a process may have several.
    turn, request = (call.client, access_key, token.prefix), object()
    # setdefault: two threads cannot both find it free. Waiting by Runtime.sleep works for threads,
    # greenlets and tests.
    while _turns.setdefault(turn, request) is not request:
        if call.seconds_left < RESERVED_SECONDS:
            raise ApiError(502, "Another request with this Idempotency-Key is in progress.")
        call.runtime.sleep(_TURN_SECONDS)
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


def refused_tags(error: EC2Error, tags: Mapping[str, str]) -> ApiError:
    """Build the error for a caller who may create but perhaps not tag.

    ``tags`` are those that the create cannot do without; none stands for an Idempotency-Key.
    """
    refused = api_error(error)
    needs = f"The tags {', '.join(tags)} also need" if tags else "Idempotency-Key also needs"
    message = f"{refused.message} {needs} the permission ec2:CreateTags."
    return ApiError(refused.status, message, code=refused.code, retry_after=None, is_refusal=True)


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
