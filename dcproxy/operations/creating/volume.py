"""Volume creation: one volume per request, since CreateVolume has a ClientToken."""

from typing import Any

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import Volume
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.idempotency import client_token, has_key
from dcproxy.operations.creating.outcomes import (
    KEY_HAS_OTHER_PARAMETERS,
    refused_tags,
    require_client,
    tag_specifications,
    unknown_outcome,
)


def create_volume(
    call: ApiCall,
    *,
    snapshot_id: str,
    capacity: int | None,
    realm_id: str,
    name: str,
    description: str,
) -> Volume:
    """Make one volume, whatever response is lost, and return it. Empty parameters are unset.

    ``capacity`` is in GB. Without it, the volume has the size of its snapshot, or 1 GB. Without
    ``realm_id``, it is in the first available zone by name. Raises ``EC2Error`` when EC2
    refuses, and ``ApiError``: a 502 when it is unknown whether there is a volume.
    """
    params: dict[str, Any] = {"ClientToken": client_token(call)}
    params["AvailabilityZone"] = realm_id or _first_available_zone(call)
    if snapshot_id:
        params["SnapshotId"] = snapshot_id
    if capacity or not snapshot_id:
        params["Size"] = capacity or 1
    texts = {"Name": name, "Description": description}
    tags = dict(call.settings.tags) | {key: text for key, text in texts.items() if text}
    require_client(call, "volume")
    try:
        return call.ec2(
            reader.created_volume, "CreateVolume", **params, **tag_specifications("volume", tags)
        )
    except EC2Error as error:
        if error.code == "IdempotentParameterMismatch":
            raise ApiError(422, KEY_HAS_OTHER_PARAMETERS) from error
        if error.earlier_response_lost or error.outcome is Outcome.UNKNOWN:
            look = ": look for it in the list of volumes"
            raise unknown_outcome(error, "volume", look, is_keyed=has_key(call)) from error
        if tags and error.code == "UnauthorizedOperation":
            raise refused_tags(error, tags) from error
        raise


def _first_available_zone(call: ApiCall) -> str:
    zones = call.ec2(reader.zones, "DescribeAvailabilityZones").records
    # The first by name: EC2 lists them in any order, and a repeated create needs the same zone.
    if available := [zone.name for zone in zones if zone.state == "available"]:
        return min(available)
    raise ApiError(
        400,
        f"realm_id is missing, and EC2 in {call.region} names no zone that is available.",
        parameter="realm_id",
    )
