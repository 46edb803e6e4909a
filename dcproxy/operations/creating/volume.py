"""Volume creation: one volume per request, since CreateVolume has a ClientToken."""

import re
from collections.abc import Sequence
from typing import Any

from dcproxy.deltacloud.errors import RETRY_AFTER, ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.records import Volume, Zone
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating import idempotency, ladder
from dcproxy.operations.translation import api_error

_MISMATCH = "IdempotentParameterMismatch"

_REFUSED_ZONES = re.compile(
    r"InsufficientVolumeCapacity|InvalidAvailabilityZone|InvalidZone\.NotFound|Unsupported"
    "|VolumeTypeNotAvailableInZone"
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
    ``realm_id``, it is in the first standard zone by name that is available and that EC2 accepts.
    Raises ``EC2Error`` when EC2 refuses, and ``ApiError``: a 502 when it is unknown whether there
    is a volume.
    """
    texts = {"Name": name, "Description": description}
    tags = dict(call.settings.tags) | {key: text for key, text in texts.items() if text}
    params = {"ClientToken": idempotency.client_token(call)} | idempotency.tag_specifications(
        "volume", tags
    )
    if snapshot_id:
        params["SnapshotId"] = snapshot_id
    if capacity or not snapshot_id:
        params["Size"] = capacity or 1
    zones = [Zone(realm_id, "available", "")] if realm_id else _standard_zones(call)
    idempotency.require_client(call, "volume")
    is_keyed = call.request.idempotency_key is not None
    try:
        return _create_in_first(call, zones, params)
    except EC2Error as error:
        cause = api_error(error)
        if error.code == _MISMATCH and is_keyed:
            message = (
                f"{cause.message} This Idempotency-Key was used with other parameters, "
                "or its volume was deleted: use a new key."
            )
            raise ApiError(422, message, code=error.code) from error
        if error.may_have_effect:
            effect = "made a volume: look for it in the list of volumes"
            raise ladder.unknown_outcome(
                error, effect, RETRY_AFTER if is_keyed else None
            ) from error
        if tags and error.code == "UnauthorizedOperation":
            raise idempotency.refused_tags(error, tags) from error
        if not realm_id and _REFUSED_ZONES.fullmatch(error.code):
            # No 404: the caller has not named the zone.
            raise ApiError(502, cause.message, code=cause.code, is_refusal=True) from error
        raise


def _create_in_first(call: ApiCall, zones: Sequence[Zone], params: dict[str, Any]) -> Volume:
    """Create a volume in the first zone that EC2 accepts, with one ClientToken for all zones.

    An earlier request with the same key may have made it in another zone: EC2 tells so by a
    mismatch. Only then, zones that are not available now are tried too. Raises ``EC2Error``.
    """
    refusals: dict[str, EC2Error] = {}
    for name, state, _ in zones:
        if state != "available" and _MISMATCH not in refusals:
            break
        try:
            return call.ec2(reader.created_volume, "CreateVolume", AvailabilityZone=name, **params)
        except EC2Error as error:
            if error.code != _MISMATCH and not ladder.refuses_choice(error, name, _REFUSED_ZONES):
                raise
            refusals[error.code] = error
    raise refusals.get(_MISMATCH) or refusals.popitem()[1]


def _standard_zones(call: ApiCall) -> list[Zone]:
    """Return the zones that are neither Local nor Wavelength Zones, the available ones first."""
    zones = call.ec2(reader.zones, "DescribeAvailabilityZones").records
    # Some clouds tell no type.
    standard = [zone for zone in zones if zone.type in {"", "availability-zone"}]
    if not any(zone.state == "available" for zone in standard):
        message = f"realm_id is missing, and EC2 in {call.region} names no zone that is available."
        raise ApiError(400, message, parameter="realm_id")
    # By name: EC2 lists them in any order.
    return sorted(standard, key=lambda zone: (zone.state != "available", zone.name))
