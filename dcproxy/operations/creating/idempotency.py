"""What identifies a create: the tags of its snapshots, and the Idempotency-Key of its request."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2.records import TaggedSnapshot
from dcproxy.operations.call import ApiCall

CREATE_TAG = "dcproxy:create"
REQUEST_TAG = "dcproxy:request"
"""Distinguishes the snapshots of this request from those of others with the same key."""


@dataclass(frozen=True, slots=True)
class Token:
    """What identifies a create.

    ``prefix`` begins the tag of all its snapshots, ``value`` is the tag of this request, and
    ``request`` identifies this request. ``is_keyed``: it comes from an Idempotency-Key, so other
    requests may share it.
    """

    prefix: str
    value: str
    request: str
    is_keyed: bool

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a snapshot that is made with this token."""
        return {CREATE_TAG: self.value, REQUEST_TAG: self.request}

    @property
    def filter(self) -> str:
        """The value of EC2's filter that finds the snapshots."""
        return f"{self.prefix}*" if self.is_keyed else self.value

    def matches(self, tagged: TaggedSnapshot) -> bool:
        """Tell whether a snapshot carries the tag."""
        tag = tagged.tags[0]
        return tag.startswith(self.prefix) if self.is_keyed else tag == self.value

    def made(self, tagged: TaggedSnapshot) -> bool:
        """Tell whether this request made a snapshot."""
        return tagged.tags[1] == self.request


def create_token(call: ApiCall, parameters: Sequence[str]) -> Token | None:
    """Return the token of a create; None when the option ``create_tag`` is off.

    The parameters are part of the value, so that the tag records them too. Raises a 400
    ``ApiError`` for an Idempotency-Key that is malformed or not supported.
    """
    if not call.settings.create_tag:
        if has_key(call):
            raise ApiError(
                400, "Idempotency-Key is not supported here: the option create_tag is off."
            )
        return None
    request = _random(call)
    if not has_key(call):
        return Token(request, request, request, is_keyed=False)
    name = _digest_of_key(call)
    return Token(f"{name}-", f"{name}-{_digest(*parameters)}", request, is_keyed=True)


def client_token(call: ApiCall) -> str:
    """Return the ClientToken of a create, which EC2 keeps with the parameters of the create.

    Without an Idempotency-Key it is random. Raises a 400 ``ApiError`` for a malformed one.
    """
    if has_key(call):
        return _digest_of_key(call)
    return _random(call)


def has_key(call: ApiCall) -> bool:
    """Tell whether the request has an Idempotency-Key."""
    return call.request.idempotency_key is not None


def _random(call: ApiCall) -> str:
    return f"{call.runtime.random.getrandbits(128):032x}"


def _digest_of_key(call: ApiCall) -> str:
    key = _idempotency_key(call.request.idempotency_key or "")
    return _digest(call.caller.name, call.region, key)


def _digest(*texts: str) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()[:32]


# A String of RFC 8941, as the IETF draft has it; without its quotes too, as many clients send it.
_KEY = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"|([\w.:/+=-]{1,255})', re.A)


def _idempotency_key(header: str) -> str:
    match = _KEY.fullmatch(header.strip())
    if match is None:
        raise ApiError(
            400, 'Idempotency-Key cannot be read: it takes one text in quotes, such as "a-1".'
        )
    return match[1] or match[2]
