"""What creates have in common; ``kind`` is ``snapshot`` or ``volume``."""

from collections.abc import Mapping
from typing import Any

from dcproxy.deltacloud.errors import RETRY_AFTER, ApiError
from dcproxy.ec2.errors import EC2Error
from dcproxy.operations.call import ApiCall
from dcproxy.operations.translation import api_error

KEY_HAS_OTHER_PARAMETERS = "This Idempotency-Key was used with other parameters: use a new key."


def require_client(call: ApiCall, kind: str) -> None:
    """Drop the create of a client that has given up waiting: it may have sent another one."""
    if call.log.client_has_left:
        raise ApiError(400, f"The client closed its connection before the {kind} was created.")


def tag_specifications(kind: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Build the parameter of a create that sets ``tags``; without tags there is none."""
    if not tags:
        return {}
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": pairs}]}


def refused_tags(error: EC2Error, tags: Mapping[str, str]) -> ApiError:
    """Build the error for a caller who may create but perhaps not tag.

    ``tags`` are those that the create cannot do without; none stands for an Idempotency-Key.
    """
    refused = api_error(error)
    needs = f"The tags {', '.join(tags)} also need" if tags else "Idempotency-Key also needs"
    message = f"{refused.message} {needs} the permission ec2:CreateTags."
    return ApiError(refused.status, message, code=refused.code, retry_after=None, is_refusal=True)


def unknown_outcome(error: EC2Error, kind: str, look: str, *, is_keyed: bool) -> ApiError:
    """Build the 502 for a create of which it is unknown whether it took effect.

    ``look`` says how to find out. ``is_keyed``: the request has an Idempotency-Key.
    """
    cause = api_error(error)
    return ApiError(
        502,
        f"{cause.message} It is not known whether EC2 has made a {kind}{look}.",
        code=cause.code,
        # Without a key, a repeated request would make a second one.
        retry_after=RETRY_AFTER if is_keyed else None,
    )
