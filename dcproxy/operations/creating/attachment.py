"""Attaching and detaching volumes. After a lost response, the attachments tell the outcome."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dcproxy.deltacloud.errors import RETRY_AFTER, ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import Attachment, Volume
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.ladder import carry_out, unknown_outcome

_LETTERS = "fghijklmnop"
_ATTACHED = ("attaching", "attached")
"""The states of an attachment that holds; in any other, EC2 is detaching the volume."""

_NOT_ATTACHED = ("IncorrectState", "InvalidAttachment.NotFound")
"""Codes of a refused detach: the volume is not attached."""

# EC2 takes /dev/sdf and /dev/xvdf for the same.
_DEVICE = re.compile(r"(?:/dev/)?(?:sd|xvd)([a-z]+)[0-9]*")


def attach_volume(call: ApiCall, volume: Volume, instance_id: str, device: str) -> Volume:
    """Attach a volume to an instance, and return it as it is then.

    Without ``device``, it is the first of /dev/sdf to /dev/sdp that no volume of the instance has,
    and that EC2 accepts. Raises ``EC2Error`` when EC2 refuses, and ``ApiError``: a 502 when the
    outcome is unknown.
    """
    devices = [device] if device else _free_devices(call, instance_id)
    for device in devices:
        try:
            attachment = _attach(call, volume, instance_id, device)
        except EC2Error as error:
            if device == devices[-1] or not _refuses_device(error, device):
                raise
        else:
            break
    return volume._replace(status="in-use", attachments=(attachment, *volume.attachments))


def _attach(call: ApiCall, volume: Volume, instance_id: str, device: str) -> Attachment:
    def is_effect(shown: Attachment | None, error: EC2Error) -> bool:
        return shown is not None and shown.device == device and shown.status in _ATTACHED

    before = _of_instance(volume.attachments, instance_id)
    params = {"VolumeId": volume.id, "InstanceId": instance_id, "Device": device}
    # An attachment that held before proves nothing.
    held = before is not None and before.device == device and before.status in _ATTACHED
    _carry_out(call, "AttachVolume", instance_id, None if held else is_effect, params)
    return Attachment(instance_id, device, "attaching")


def _refuses_device(error: EC2Error, device: str) -> bool:
    is_named = error.code == "InvalidDevice.InUse" or device in error.message
    return error.outcome is Outcome.REFUSED and is_named


def detach_volume(call: ApiCall, volume: Volume, instance_id: str) -> Volume:
    """Detach a volume from an instance, and return it as it is then. Raises as ``attach_volume``.

    It stays in use until the operating system of the instance has released it. An empty
    ``instance_id`` is that of a volume which is not attached, as far as EC2 shows.
    """

    def is_effect(shown: Attachment | None, error: EC2Error) -> bool:
        # Reads that lag may not show the attachment yet: then only EC2's refusal tells.
        if shown is None:
            return error.code in _NOT_ATTACHED
        return shown.status not in _ATTACHED

    before = _of_instance(volume.attachments, instance_id)
    held = before is not None and before.status in _ATTACHED
    params = {"VolumeId": volume.id} | ({"InstanceId": instance_id} if instance_id else {})
    # What was not attached before, as far as EC2 shows, may still be attached.
    detached = _carry_out(call, "DetachVolume", instance_id, is_effect if held else None, params)
    leaving = before or detached
    if leaving is None or not leaving.instance_id:
        return volume
    others = [attachment for attachment in volume.attachments if attachment is not before]
    return volume._replace(
        status="in-use", attachments=(leaving._replace(status="detaching"), *others)
    )


def _of_instance(attachments: Sequence[Attachment], instance_id: str) -> Attachment | None:
    return next((shown for shown in attachments if shown.instance_id == instance_id), None)


def _free_devices(call: ApiCall, instance_id: str) -> list[str]:
    filters = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    taken = {
        match[1]
        for attachment in _attachments(call, Filters=filters)
        if attachment.instance_id == instance_id and (match := _DEVICE.fullmatch(attachment.device))
    }
    free = [f"/dev/sd{letter}" for letter in _LETTERS if letter not in taken]
    if not free:
        raise ApiError(
            400,
            f"device is missing, and {instance_id} has volumes at all from /dev/sdf to /dev/sdp.",
            parameter="device",
        )
    return free


def _carry_out(
    call: ApiCall,
    action: str,
    instance_id: str,
    is_effect: Callable[[Attachment | None, EC2Error], bool] | None,
    params: dict[str, Any],
) -> Attachment:
    """Carry out AttachVolume or DetachVolume; return the attachment as the response shows it.

    After a lost response, ``is_effect`` is given the attachment to the instance as EC2 shows it,
    and the last error. Without it, nothing that EC2 shows proves an effect.
    """

    def send(call: ApiCall) -> Attachment:
        read = partial(reader.attachment, action=action)
        return call.ec2(read, action, is_repeatable=False, **params)

    def look(error: EC2Error) -> Attachment | None:
        shown = _attachments(call, is_follow_up=True, VolumeIds=[params["VolumeId"]])
        attachment = _of_instance(shown, instance_id)
        if is_effect is not None and is_effect(attachment, error):
            return attachment or Attachment(instance_id, "", "detached")
        return None

    def unknown(error: EC2Error) -> ApiError:
        return unknown_outcome(error, f"carried out {action}: look at the volume", RETRY_AFTER)

    return carry_out(call, send, look, unknown)


def _attachments(call: ApiCall, **params: Any) -> list[Attachment]:
    volumes = call.ec2(reader.volumes, "DescribeVolumes", **params).records
    return [attachment for volume in volumes for attachment in volume.attachments]
