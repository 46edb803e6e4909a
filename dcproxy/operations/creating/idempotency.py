"""What identifies a create: the tags of its snapshots, and the Idempotency-Key of its request."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, NamedTuple

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2.records import TaggedSnapshot
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.ladder import RESERVED_SECONDS

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

    ``value`` is the tag of its snapshots, and ``prefix`` begins that of all requests with its
    Idempotency-Key; without one, both are the same. ``request`` identifies this request.
    """

    prefix: str
    value: str
    request: str

    @property
    def is_keyed(self) -> bool:
        """Whether it comes from an Idempotency-Key, which other requests may share."""
        return self.prefix != self.value

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a snapshot that is made with this token."""
        return {CREATE_TAG: self.value, REQUEST_TAG: self.request}

    def made(self, tagged: TaggedSnapshot) -> bool:
        """Tell whether this request made a snapshot."""
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
        return Token(request, request, request)
    return Token(f"{key}-", f"{key}-{_digest(*parameters)}", request)


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
    caller = call.caller
    access_key = None if caller.is_account else caller.access_key(0.0)
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
        raise ApiError(
            400, 'Idempotency-Key cannot be read: it takes one text in quotes, such as "a-1".'
        )
    return _digest(call.caller.name, call.region, match[1] or match[2])
