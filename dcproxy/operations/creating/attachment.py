"""Attaching and detaching volumes. A lost response is settled by a look at the attachments."""

import logging
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.client import back_off
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.records import Attachment, Volume
from dcproxy.operations.call import ApiCall
from dcproxy.operations.translation import api_error

_LOOK_DELAYS = (0.5, 1.0, 2.0)
"""Seconds before each look at the attachments after a lost response: EC2's reads lag."""

_RESERVED_SECONDS = sum(_LOOK_DELAYS) + 1.0
"""What an attach or a detach leaves of the deadline, so that its effect can be looked for."""

log = logging.getLogger(__name__)

_LETTERS = "fghijklmnop"
_ATTACHED = ("attaching", "attached")
"""The states of an attachment that holds; in any other, EC2 is detaching the volume."""

# EC2 takes /dev/sdf and /dev/xvdf for the same.
_DEVICE = re.compile(r"(?:/dev/)?(?:sd|xvd)([a-z]+)[0-9]*")


def attach_volume(call: ApiCall, volume: Volume, instance_id: str, device: str) -> Volume:
    """Attach a volume to an instance, and return it as it is then.

    Without ``device``, it is the first of /dev/sdf to /dev/sdp that no volume of the instance has.
    Raises ``EC2Error`` when EC2 refuses, and ``ApiError``: a 502 when the outcome is unknown.
    """
    device = device or _first_free_device(call, instance_id)

    def is_done(attachments: list[Attachment]) -> bool:
        return _is_attached(attachments, instance_id)

    params = {"VolumeId": volume.id, "InstanceId": instance_id, "Device": device}
    _carry_out(call, "AttachVolume", is_done, **params)
    attachment = Attachment(instance_id, device, "attaching")
    return volume._replace(status="in-use", attachments=(attachment, *volume.attachments))


def detach_volume(call: ApiCall, volume: Volume, instance_id: str) -> Volume:
    """Detach a volume from an instance, and return it as it is then. Raises as ``attach``.

    It stays in use until the operating system of the instance has released it. An empty
    ``instance_id`` is that of a volume which is not attached, as far as EC2 shows.
    """

    def is_done(attachments: list[Attachment]) -> bool:
        return not _is_attached(attachments, instance_id)

    params = {"VolumeId": volume.id} | ({"InstanceId": instance_id} if instance_id else {})
    _carry_out(call, "DetachVolume", is_done, **params)
    attachments = [
        attachment._replace(status="detaching")
        if attachment.instance_id == instance_id
        else attachment
        for attachment in volume.attachments
    ]
    return volume._replace(attachments=tuple(attachments))


def _is_attached(attachments: list[Attachment], instance_id: str) -> bool:
    return any(
        attachment.instance_id == instance_id and attachment.status in _ATTACHED
        for attachment in attachments
    )


def _first_free_device(call: ApiCall, instance_id: str) -> str:
    filters = [{"Name": "attachment.instance-id", "Values": [instance_id]}]
    attachments = _attachments(call, Filters=filters)
    taken = {
        match[1]
        for attachment in attachments
        if attachment.instance_id == instance_id and (match := _DEVICE.fullmatch(attachment.device))
    }
    for letter in _LETTERS:
        if letter not in taken:
            return f"/dev/sd{letter}"
    raise ApiError(
        400,
        f"device is missing, and {instance_id} has volumes at all from /dev/sdf to /dev/sdp.",
        parameter="device",
    )


def _carry_out(
    call: ApiCall, action: str, is_done: Callable[[list[Attachment]], bool], **params: Any
) -> None:
    """Send an action until EC2 has carried it out, has refused, or the deadline is near.

    After a lost response, ``is_done`` tells from the attachments of the volume whether EC2 has
    carried it out. Only when they show that it has not, the action is sent again.
    """
    runtime = call.runtime
    reserving = replace(call, deadline=call.deadline - _RESERVED_SECONDS)
    attempt, is_lost = 0, False
    while True:
        attempt += 1
        try:
            read = partial(reader.attachment, action=action)
            reserving.ec2(read, action, is_repeatable=False, **params)
        except EC2Error as error:
            is_lost |= error.outcome is Outcome.UNKNOWN
            is_carried_out = _look(call, params["VolumeId"], is_done) if is_lost else False
            if is_carried_out:
                return
            pause = back_off(runtime, attempt)
            may_repeat = (
                is_carried_out is not None
                and error.outcome is not Outcome.REFUSED
                and attempt < call.settings.retry_attempts
                and runtime.monotonic() + pause < reserving.deadline
            )
            if not may_repeat:
                if is_lost:
                    raise _unknown(error, action) from error
                raise
            runtime.sleep(pause)
            call.log.retries += 1
        else:
            return


def _look(
    call: ApiCall, volume_id: str, is_done: Callable[[list[Attachment]], bool]
) -> bool | None:
    """Tell whether the attachments of a volume show an effect; None when EC2 does not show them."""
    shown = None
    for delay in _LOOK_DELAYS:
        if call.runtime.monotonic() + delay > call.deadline:
            break
        call.runtime.sleep(delay)
        try:
            attachments = _attachments(call, VolumeIds=[volume_id])
        except EC2Error as error:
            log.warning(
                "cannot look at the attachments of %s: %s",
                volume_id,
                error,
                extra={"request_id": call.log.request_id},
            )
        else:
            shown = is_done(attachments)
            if shown:
                break
    return shown


def _attachments(call: ApiCall, **params: Any) -> list[Attachment]:
    volumes = call.ec2(reader.volumes, "DescribeVolumes", **params).records
    return [attachment for volume in volumes for attachment in volume.attachments]


def _unknown(error: EC2Error, action: str) -> ApiError:
    cause = api_error(error)
    return ApiError(
        502,
        f"{cause.message} It is not known whether EC2 has carried out {action}: "
        "look at the volume.",
        code=cause.code,
    )
