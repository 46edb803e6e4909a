"""Storage volumes: list, show, create, delete, attach and detach."""

import re
from collections.abc import Sequence
from functools import partial

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.html import writer as html_writer
from dcproxy.deltacloud.models import ErrorDocument
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.records import Volume, Zone
from dcproxy.operations import forms, lists, members, translation
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.volume import attach_volume, create_volume, detach_volume
from dcproxy.operations.members import SNAPSHOTS, VOLUMES

_INSTANCE_ID = members.id_pattern("i")

MAX_CAPACITY = 65_536
"""GB of the largest volume of EC2."""


def index(call: ApiCall) -> Response:
    """``GET /api/storage_volumes``; ``?id=`` leaves that one."""
    pages = members.find_all(call, VOLUMES)
    return lists.list_response(call, "storage_volumes", pages, translation.storage_volumes)


def show(call: ApiCall) -> Response:
    """``GET /api/storage_volumes/:id``."""
    return members.member_response(call, VOLUMES, _volume(call))


def new(call: ApiCall) -> Response:
    """``GET /api/storage_volumes/new``: a form, available as HTML only."""
    return forms.new(call, _form)


def _form(call: ApiCall, error: ErrorDocument | None) -> str:
    zones: Sequence[Zone] = ()
    if error is None or error.parameter:
        zones = forms.choices(call, reader.zones, "DescribeAvailabilityZones")
    return html_writer.document(
        "new_storage_volume",
        None,
        call.urls,
        values=call.request.parameters,
        error=error,
        realms=[realm for realm in translation.realms(zones) if realm.limit is None],
    )


@forms.shown_again(_form)
def create(call: ApiCall) -> Response:
    """``POST /api/storage_volumes``; all parameters are optional.

    They are ``snapshot_id``, ``capacity``, ``realm_id``, ``name`` and ``description``.
    """
    params = call.request.parameters
    volume = create_volume(
        call,
        snapshot_id=members.id_parameter(call, "snapshot_id", SNAPSHOTS.id, "snap-45b8d024"),
        capacity=_capacity(params.get("capacity", "")),
        realm_id=params.get("realm_id", ""),
        name=params.get("name", ""),
        description=params.get("description", ""),
    )
    return members.member_response(call, VOLUMES, volume, 201)


destroy = partial(members.delete, VOLUMES)
destroy_by_post = partial(members.delete_by_post, VOLUMES)


def _filled_page(call: ApiCall, error: ErrorDocument | None) -> str:
    try:
        [model] = translation.storage_volumes([_volume(call)])
    except (ApiError, EC2Error):
        return html_writer.document("error", error, call.urls)
    return html_writer.document(
        "storage_volume", model, call.urls, values=call.request.parameters, error=error
    )


@forms.shown_again(_filled_page)
def attach(call: ApiCall) -> Response:
    """``POST /api/storage_volumes/:id/attach`` with ``instance_id``, and perhaps ``device``."""
    instance_id = _instance_id(call)
    if not instance_id:
        raise _missing_instance("it takes the id of the instance to attach the volume to")
    device = call.request.parameters.get("device", "")
    return _accepted(call, attach_volume(call, _volume(call), instance_id, device))


@forms.shown_again(_filled_page)
def detach(call: ApiCall) -> Response:
    """``POST /api/storage_volumes/:id/detach``.

    ``instance_id`` is needed for a volume that is attached to several instances.
    """
    instance_id = _instance_id(call)
    volume = _volume(call)
    if not instance_id and volume.mounts:
        instance_id, *others = (mount.instance_id for mount in volume.mounts)
        if others:
            instances = ", ".join([instance_id, *others])
            raise _missing_instance(f"the volume is attached to {instances}")
    return _accepted(call, detach_volume(call, volume, instance_id))


def _instance_id(call: ApiCall) -> str:
    return members.id_parameter(call, "instance_id", _INSTANCE_ID, "i-1a2b3c4d")


def _missing_instance(reason: str) -> ApiError:
    return ApiError(400, f"instance_id is missing: {reason}.", parameter="instance_id")


def _accepted(call: ApiCall, volume: Volume) -> Response:
    if call.request.format.is_page:
        return members.see_other(call.urls.member("storage_volumes", volume.id))
    return members.member_response(call, VOLUMES, volume, 202)


def _volume(call: ApiCall) -> Volume:
    volume: Volume = members.find(call, VOLUMES, call.request.id)
    return volume


def _capacity(text: str) -> int | None:
    if not text:
        return None
    if not (re.fullmatch("[0-9]{1,9}", text) and 1 <= int(text) <= MAX_CAPACITY):
        allowed = f"a whole number of GB from 1 to {MAX_CAPACITY}"
        message = f"capacity {text!r} is not allowed: it takes {allowed}."
        raise ApiError(400, message, parameter="capacity")
    return int(text)
