"""What creates of snapshots and volumes have in common; ``kind`` is ``snapshot`` or ``volume``."""

from collections.abc import Mapping
from typing import Any

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2.errors import EC2Error
from dcproxy.operations.call import ApiCall
from dcproxy.operations.translation import api_error


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
