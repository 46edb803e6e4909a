"""Snapshot creation: one snapshot per request, although CreateSnapshot has no client token.

Each create carries a tag of its own in the call that makes the snapshot. When a response is lost,
the tag tells whether there is a snapshot; when there are duplicates, the oldest stays. The tags are
the only state: replicas and restarts make no difference. ``docs/idempotency.md`` has the states.
"""

import logging
import random
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, count
from typing import Any, NamedTuple

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import xml
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import Snapshot, TaggedSnapshot
from dcproxy.operations.context import OperationContext, call_ec2, require_credentials
from dcproxy.operations.lists import paginate
from dcproxy.operations.translation import api_error, is_not_found

CREATE_TAG = "dcproxy:create"
REQUEST_TAG = "dcproxy:request"
"""Tells the snapshots that one request made from those of others with the same key."""

LOOK_DELAYS = (0.5, 1.0, 2.0)
"""Seconds before each look for what a create has made: EC2's reads lag."""

SETTLE_DELAYS = (1.0,)
"""The same for what other requests with the same Idempotency-Key have made."""

_MAX_BACKOFF = 8.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Token:
    """What identifies a create.

    ``filter`` finds its snapshots, ``value`` is the value of their tag, and ``request`` identifies
    this request. ``is_keyed``: it comes from an Idempotency-Key, so other requests may share it.
    """

    filter: str
    value: str
    request: str
    is_keyed: bool

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a snapshot that is made with this token."""
        return {CREATE_TAG: self.value, REQUEST_TAG: self.request}

    def made(self, tagged: TaggedSnapshot) -> bool:
        """Tell whether this request made a snapshot."""
        return tagged.tags[1] == self.request


class Search(NamedTuple):
    """The snapshots of a token that were found. ``succeeded``: EC2 answered at least once."""

    found: Collection[TaggedSnapshot]
    succeeded: bool


def create(context: OperationContext, volume_id: str, name: str, description: str) -> Snapshot:
    """Make one snapshot, whatever response is lost, and return it.

    An empty ``name`` or ``description`` is none. Raises ``EC2Error`` when EC2 refuses, and
    ``ApiError``: a 502 when it is unknown whether there is a snapshot; it names the tag.
    """
    params: dict[str, Any] = {"VolumeId": volume_id}
    if description:
        params["Description"] = description
    name_tag = {"Name": name} if name else {}
    token = _token(context, (volume_id, name, description))
    if token is None:
        return _send_once(context, params, name_tag)
    if token.is_keyed and (earlier := _search_once(context, token)):
        return _oldest(earlier, token)
    return _create_tagged(context, params, name_tag, token)


def _token(context: OperationContext, parameters: Sequence[str]) -> Token | None:
    key = context.request.http.headers.get("Idempotency-Key")
    if not context.settings.create_tag:
        if key is not None:
            raise ApiError(
                400, "Idempotency-Key is not supported here: the option create_tag is off."
            )
        return None
    request = secrets.token_hex(16)
    if key is None:
        return Token(request, request, request, is_keyed=False)
    caller = require_credentials(context).id
    name = _digest(caller, context.region, _idempotency_key(key))
    # The parameters are part of the value, so that the tag records them too.
    return Token(f"{name}-*", f"{name}-{_digest(*parameters)}", request, is_keyed=True)


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


def _create_tagged(
    context: OperationContext, params: Mapping[str, Any], name_tag: Mapping[str, str], token: Token
) -> Snapshot:
    lost_responses = 0
    for attempt in count(1):
        try:
            snapshot = _send(context, params, {**name_tag, **token.tags})
        except EC2Error as error:
            if lost_responses == 0 and _may_not_tag(error):
                return _create_without_tags(context, params, name_tag, token, error)
            lost_responses += error.outcome is Outcome.UNKNOWN
            search = Search((), succeeded=True)
            if lost_responses:
                search = _poll_by_tag(context, token, LOOK_DELAYS, expected=lost_responses)
            if search.found:
                return _delete_duplicates(context, token, search.found)
            may_repeat = search.succeeded and error.outcome is not Outcome.REFUSED
            if not may_repeat or attempt >= context.settings.retry_attempts:
                if lost_responses:
                    raise _unknown(error, token) from error
                raise
            _back_off(context, attempt)
        else:
            made = TaggedSnapshot(snapshot, tuple(token.tags.values()))
            return _settle(context, token, made, lost_responses)
    raise AssertionError("unreachable")


def _settle(
    context: OperationContext, token: Token, made: TaggedSnapshot, lost_responses: int
) -> Snapshot:
    """Look for duplicates of a snapshot where there may be some, and leave the oldest."""
    if lost_responses:
        search = _poll_by_tag(context, token, LOOK_DELAYS, expected=lost_responses + 1)
    elif token.is_keyed:
        search = _poll_by_tag(context, token, SETTLE_DELAYS, expected=2)
    else:
        return made.snapshot
    others = [tagged for tagged in search.found if tagged.snapshot.id != made.snapshot.id]
    return _delete_duplicates(context, token, [made, *others])


def _may_not_tag(error: EC2Error) -> bool:
    return error.outcome is Outcome.REFUSED and error.code == "UnauthorizedOperation"


def _back_off(context: OperationContext, attempt: int) -> None:
    context.sleep(random.uniform(0, min(2.0**attempt, _MAX_BACKOFF)))  # noqa: S311
    context.request_context.retries += 1


def _create_without_tags(
    context: OperationContext,
    params: Mapping[str, Any],
    name_tag: Mapping[str, str],
    token: Token,
    error: EC2Error,
) -> Snapshot:
    """Make a snapshot for a caller who may create but not tag. It is never sent again."""
    needs = "A name needs" if name_tag else "Idempotency-Key needs" if token.is_keyed else ""
    if needs:
        refused = api_error(error)
        message = f"{refused.message} {needs} the permission ec2:CreateTags."
        raise ApiError(refused.status, message, code=refused.code) from error
    return _send_once(context, params, {})


def _send(
    context: OperationContext, params: Mapping[str, Any], tags: Mapping[str, str]
) -> Snapshot:
    specification = {
        "ResourceType": "snapshot",
        "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
    }
    tagged = {"TagSpecifications": [specification]} if tags else {}
    return call_ec2(context, xml.created_snapshot, "CreateSnapshot", **params, **tagged)


def _send_once(
    context: OperationContext, params: Mapping[str, Any], tags: Mapping[str, str]
) -> Snapshot:
    try:
        return _send(context, params, tags)
    except EC2Error as error:
        if error.outcome is not Outcome.UNKNOWN:
            raise
        raise _unknown(error, None) from error


def _unknown(error: EC2Error, token: Token | None) -> ApiError:
    look = f": look for the tag {CREATE_TAG}={token.value}" if token else ""
    cause = api_error(error)
    return ApiError(
        502,
        f"{cause.message} It is not known whether EC2 has made a snapshot{look}.",
        code=cause.code,
        # Without a key, a repeated request would make a second snapshot.
        may_retry=token is not None and token.is_keyed,
    )


def _poll_by_tag(
    context: OperationContext, token: Token, delays: Sequence[float], *, expected: int
) -> Search:
    """Look for the snapshots of a token, until as many of this request as expected are found."""
    found: dict[str, TaggedSnapshot] = {}
    succeeded = False
    for delay in delays:
        context.sleep(delay)
        try:
            found |= {tagged.snapshot.id: tagged for tagged in _search_once(context, token)}
        except EC2Error as error:
            log.warning(
                "cannot look for the snapshots of a create: %s",
                error,
                extra={"request_id": context.request_context.request_id},
            )
        else:
            succeeded = True
        if sum(map(token.made, found.values())) >= expected:
            break
    return Search(found.values(), succeeded)


def _search_once(context: OperationContext, token: Token) -> list[TaggedSnapshot]:
    pages = paginate(
        context,
        lambda response: xml.tagged_snapshots(response, tuple(token.tags)),
        "DescribeSnapshots",
        OwnerIds=["self"],
        Filters=[{"Name": f"tag:{CREATE_TAG}", "Values": [token.filter]}],
    )
    return list(chain.from_iterable(page.records for page in pages))


def _delete_duplicates(
    context: OperationContext, token: Token, found: Collection[TaggedSnapshot]
) -> Snapshot:
    """Delete what this request has made, except the oldest snapshot of all, and return that one."""
    oldest = min(found, key=_age)
    for tagged in found:
        if token.made(tagged) and tagged is not oldest:
            _delete(context, tagged.snapshot.id)
    return _oldest(found, token)


def _delete(context: OperationContext, id: str) -> None:
    try:
        call_ec2(context, xml.deleted, "DeleteSnapshot", SnapshotId=id)
    except EC2Error as error:
        if not is_not_found(error):
            log.error(
                "the duplicate snapshot %s could not be deleted: %s",
                id,
                error,
                extra={"request_id": context.request_context.request_id},
            )


def _oldest(found: Collection[TaggedSnapshot], token: Token) -> Snapshot:
    oldest = min(found, key=_age)
    if oldest.tags[0] != token.value:
        raise ApiError(422, "This Idempotency-Key was used with other parameters: use a new key.")
    return oldest.snapshot


def _age(tagged: TaggedSnapshot) -> tuple[str, str]:
    return tagged.snapshot.start_time, tagged.snapshot.id
