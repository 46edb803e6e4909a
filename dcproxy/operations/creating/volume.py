"""Creates, attaches and detaches of volumes.

CreateVolume has a ClientToken, so that it is repeated until there is one volume. After a lost
response of AttachVolume or DetachVolume, the attachments of the volume tell the outcome.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import Attachment, Volume, Zone
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating import idempotency, ladder
from dcproxy.operations.translation import api_error

_MISMATCH = "IdempotentParameterMismatch"

_REFUSED_ZONES = re.compile(
    r"InsufficientVolumeCapacity|InvalidAvailabilityZone|InvalidZone\.NotFound|Unsupported"
    "|VolumeTypeNotAvailableInZone"
)
_REFUSED_DEVICE = re.compile(r"InvalidDevice\.InUse")
_DEVICES = [f"/dev/sd{letter}" for letter in "fghijklmnop"]
_ATTACHED = ("attaching", "attached")
"""The states of an attachment that holds; in any other, EC2 is detaching the volume."""

_NOT_ATTACHED = ("IncorrectState", "InvalidAttachment.NotFound")
"""Codes of a refused detach: the volume is not attached."""


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
    made = "made a volume: look for it in the list of volumes"
    with ladder.unknown_outcome(made, is_repeatable=is_keyed):
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
                raise
            if tags:
                idempotency.explain_refusal(error, tags)
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
            if error.code != _MISMATCH and not _refuses_choice(error, name, _REFUSED_ZONES):
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


def _refuses_choice(error: EC2Error, choice: str, codes: re.Pattern[str]) -> bool:
    """Tell whether EC2 refuses a zone or device that dcproxy chose, so that another one may do."""
    is_refused = error.outcome is Outcome.REFUSED and not error.may_have_effect
    return is_refused and bool(choice in error.message or codes.fullmatch(error.code))


def attach_volume(call: ApiCall, volume: Volume, instance_id: str, device: str) -> Volume:
    """Attach a volume to an instance, and return it as it is then.

    Without ``device``, it is the first of /dev/sdf to /dev/sdp that no volume of the instance has,
    and that EC2 accepts. Raises ``EC2Error`` when EC2 refuses, and ``ApiError``: a 502 when the
    outcome is unknown.
    """
    devices = [device] if device else _free_devices(call, instance_id)
    for device in devices:
        try:
            _attach(call, volume, instance_id, device)
            break
        except EC2Error as error:
            is_refused = _refuses_choice(error, device, _REFUSED_DEVICE)
            if not is_refused or device == devices[-1]:
                raise
    attached = Attachment(instance_id, device, "attaching")
    return volume._replace(status="in-use", attachments=(attached, *volume.attachments))


def _attach(call: ApiCall, volume: Volume, instance_id: str, device: str) -> None:
    wanted = (instance_id, device)
    # What was there before proves nothing: reads that lag may show it as it was still earlier.
    is_new = all(before[:2] != wanted for before in volume.attachments)

    def is_effect(attachments: Sequence[Attachment], error: EC2Error) -> bool:
        return is_new and any((*wanted, status) in attachments for status in _ATTACHED)

    params = {"VolumeId": volume.id, "InstanceId": instance_id, "Device": device}
    _carry_out(call, "AttachVolume", params, is_effect)


def detach_volume(call: ApiCall, volume: Volume, instance_id: str) -> Volume:
    """Detach a volume from an instance, and return it as it is then. Raises as ``attach_volume``.

    It stays in use until the operating system of the instance has released it. An empty
    ``instance_id`` is that of a volume which is not attached, as far as EC2 shows.
    """
    before = next(iter(_of_instance(volume.attachments, instance_id)), None)

    def is_effect(attachments: Sequence[Attachment], error: EC2Error) -> bool:
        if before is None or before.status not in _ATTACHED:
            return False  # it may be attached all the same, which reads that lag do not show
        shown = _of_instance(attachments, instance_id)
        # Nor may they show an attachment yet: without one, only EC2's refusal tells.
        return error.code in _NOT_ATTACHED if not shown else shown[0].status not in _ATTACHED

    params = {"VolumeId": volume.id} | ({"InstanceId": instance_id} if instance_id else {})
    detached = _carry_out(call, "DetachVolume", params, is_effect)
    leaving = before or detached
    if not leaving.instance_id:
        return volume
    others = [attachment for attachment in volume.attachments if attachment is not before]
    leaving = leaving._replace(status="detaching")
    return volume._replace(status="in-use", attachments=(leaving, *others))


def _carry_out(
    call: ApiCall,
    action: str,
    params: dict[str, Any],
    is_effect: Callable[[Sequence[Attachment], EC2Error], bool],
) -> Attachment:
    """Carry out AttachVolume or DetachVolume; return the attachment as the response shows it.

    After a lost response, ``is_effect`` tells whether the attachments that EC2 shows and the last
    error prove that the call was carried out; then an empty attachment is returned.
    """

    def send(call: ApiCall) -> Attachment:
        read = partial(reader.attachment, action=action)
        return call.ec2(read, action, is_repeatable=False, **params)

    def look(error: EC2Error) -> Attachment | None:
        shown = _attachments(call, is_follow_up=True, VolumeIds=[params["VolumeId"]])
        return Attachment("", "", "") if is_effect(shown, error) else None

    with ladder.unknown_outcome(f"carried out {action}: look at the volume"):
        return ladder.carry_out(call, send, look)[0]


def _free_devices(call: ApiCall, instance_id: str) -> list[str]:
    filters = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    attachments = _of_instance(_attachments(call, Filters=filters), instance_id)
    # EC2 takes /dev/sdf, /dev/xvdf and /dev/sdf1 for the same.
    names = (re.sub("^(/dev/)?(sd|xvd)", "/dev/sd", shown.device) for shown in attachments)
    taken = {name.rstrip("0123456789") for name in names}
    if free := [device for device in _DEVICES if device not in taken]:
        return free
    message = f"device is missing, and {instance_id} has volumes at all from /dev/sdf to /dev/sdp."
    raise ApiError(400, message, parameter="device")


def _attachments(call: ApiCall, **params: Any) -> list[Attachment]:
    volumes = call.ec2(reader.volumes, "DescribeVolumes", **params).records
    return [attachment for volume in volumes for attachment in volume.attachments]


def _of_instance(attachments: Sequence[Attachment], instance_id: str) -> list[Attachment]:
    return [shown for shown in attachments if shown.instance_id == instance_id]
