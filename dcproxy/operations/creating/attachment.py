"""Attaching and detaching volumes. After a lost response, the attachments tell the outcome."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dcproxy.deltacloud.errors import RETRY_AFTER, ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.records import Attachment, Volume
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.ladder import carry_out, refuses_choice, unknown_outcome

_REFUSED_DEVICE = re.compile(r"InvalidDevice\.InUse")
_DEVICES = [f"/dev/sd{letter}" for letter in "fghijklmnop"]
_ATTACHED = ("attaching", "attached")
"""The states of an attachment that holds; in any other, EC2 is detaching the volume."""

_NOT_ATTACHED = ("IncorrectState", "InvalidAttachment.NotFound")
"""Codes of a refused detach: the volume is not attached."""


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
            is_refused = refuses_choice(error, device, _REFUSED_DEVICE)
            if not is_refused or device == devices[-1]:
                raise
    attached = Attachment(instance_id, device, "attaching")
    return volume._replace(status="in-use", attachments=(attached, *volume.attachments))


def _attach(call: ApiCall, volume: Volume, instance_id: str, device: str) -> None:
    def at_device(attachments: Sequence[Attachment]) -> list[str]:
        of_instance = _of_instance(attachments, instance_id)
        return [shown.status for shown in of_instance if shown.device == device]

    # What was there before proves nothing: reads that lag may show it as it was still earlier.
    is_new = not at_device(volume.attachments)
    _carry_out(
        call,
        "AttachVolume",
        {"VolumeId": volume.id, "InstanceId": instance_id, "Device": device},
        lambda shown, error: is_new and any(s in _ATTACHED for s in at_device(shown)),
    )


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

    def look(error: EC2Error) -> Attachment | None:
        shown = _attachments(call, is_follow_up=True, VolumeIds=[params["VolumeId"]])
        return Attachment("", "", "") if is_effect(shown, error) else None

    read = partial(reader.attachment, action=action)
    try:
        return carry_out(
            call, lambda call: call.ec2(read, action, is_repeatable=False, **params), look
        )
    except EC2Error as error:
        if error.may_have_effect:
            effect = f"carried out {action}: look at the volume"
            raise unknown_outcome(error, effect, RETRY_AFTER) from error
        raise


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
