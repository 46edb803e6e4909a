"""Storage volumes: list, show, create, delete, attach and detach."""

import re
from collections.abc import Sequence

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.html import writer as html_writer
from dcproxy.deltacloud.models import ErrorDocument, Realm
from dcproxy.deltacloud.responses import document_response
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.records import Volume
from dcproxy.operations import forms, lists, members, translation
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.volume import attach_volume, create_volume, detach_volume
from dcproxy.operations.members import SNAPSHOTS, VOLUMES

_INSTANCE_ID = members.id_pattern("i")

MAX_CAPACITY = 65_536
"""GB of the largest volume of EC2."""


def index(call: ApiCall) -> Response:
    """``GET /api/storage_volumes``; ``?id=`` leaves that one."""
    pages = members.find_all(call, VOLUMES, reader.volumes)
    return lists.list_response(call, "storage_volumes", pages, translation.storage_volumes)


def show(call: ApiCall) -> Response:
    """``GET /api/storage_volumes/:id``."""
    return members.member_response(call, VOLUMES, _volume(call))


def new(call: ApiCall) -> Response:
    """``GET /api/storage_volumes/new``: a form, available as HTML only."""
    forms.check_is_page(call)
    form = html_writer.new_storage_volume(call.request.query, call.urls, _offered_realms(call))
    return document_response(call.request.format, form)


def _offered_realms(call: ApiCall) -> Sequence[Realm]:
    realms = translation.realms(forms.choices(call, reader.zones, "DescribeAvailabilityZones"))
    return [realm for realm in realms if realm.limit is None]


def create(call: ApiCall) -> Response:
    """``POST /api/storage_volumes``; all parameters are optional.

    They are ``snapshot_id``, ``capacity``, ``realm_id``, ``name`` and ``description``.
    """
    return forms.create_or_form(call, _create, _filled_form)


def _create(call: ApiCall) -> Response:
    params = call.request.parameters
    volume = create_volume(
        call,
        snapshot_id=_id_parameter(call, "snapshot_id", SNAPSHOTS.id, "snap-45b8d024"),
        capacity=_capacity(params.get("capacity", "")),
        realm_id=params.get("realm_id", ""),
        name=params.get("name", ""),
        description=params.get("description", ""),
    )
    return members.member_response(call, VOLUMES, volume, 201)


def _filled_form(call: ApiCall, document: ErrorDocument) -> str:
    realms = _offered_realms(call) if document.parameter else ()
    return html_writer.new_storage_volume(call.request.parameters, call.urls, realms, document)


def destroy(call: ApiCall) -> Response:
    """``DELETE /api/storage_volumes/:id``."""
    return members.delete(call, VOLUMES)


def destroy_by_post(call: ApiCall) -> Response:
    """``POST /api/storage_volumes/:id`` with ``_method=delete``, as HTML forms send it."""
    return members.delete_by_post(call, VOLUMES)


def attach(call: ApiCall) -> Response:
    """``POST /api/storage_volumes/:id/attach`` with ``instance_id``, and perhaps ``device``."""
    return forms.create_or_form(call, _attach, _filled_page)


def _attach(call: ApiCall) -> Response:
    instance_id = _instance_id(call)
    if not instance_id:
        raise _missing_instance("it takes the id of the instance to attach the volume to")
    device = call.request.parameters.get("device", "")
    return _accepted(call, attach_volume(call, _volume(call), instance_id, device))


def detach(call: ApiCall) -> Response:
    """``POST /api/storage_volumes/:id/detach``.

    ``instance_id`` is needed for a volume that is attached to several instances.
    """
    return forms.create_or_form(call, _detach, _filled_page)


def _detach(call: ApiCall) -> Response:
    instance_id = _instance_id(call)
    volume = _volume(call)
    mounts = volume.mounts
    if not instance_id and mounts:
        instance_id, *others = (mount.instance_id for mount in mounts)
        if others:
            instances = ", ".join([instance_id, *others])
            raise _missing_instance(f"the volume is attached to {instances}")
    return _accepted(call, detach_volume(call, volume, instance_id))


def _instance_id(call: ApiCall) -> str:
    return _id_parameter(call, "instance_id", _INSTANCE_ID, "i-1a2b3c4d")


def _missing_instance(reason: str) -> ApiError:
    return ApiError(400, f"instance_id is missing: {reason}.", parameter="instance_id")


def _filled_page(call: ApiCall, document: ErrorDocument) -> str:
    try:
        [model] = translation.storage_volumes([_volume(call)])
    except (ApiError, EC2Error):
        return html_writer.error(document, call.urls)
    return html_writer.storage_volume(model, call.urls, call.request.parameters, document)


def _accepted(call: ApiCall, volume: Volume) -> Response:
    if call.request.format.is_page:
        return members.see_other(call.urls.member("storage_volumes", volume.id))
    return members.member_response(call, VOLUMES, volume, 202)


def _volume(call: ApiCall) -> Volume:
    return members.find(call, VOLUMES, reader.volumes, call.request.id)


def _id_parameter(call: ApiCall, name: str, pattern: re.Pattern[str], example: str) -> str:
    """Return a parameter that is an id; an absent one is empty."""
    id = call.request.parameters.get(name, "")
    if id and not pattern.fullmatch(id):
        raise ApiError(
            400, f"{name} {id!r} is not an id of EC2, such as {example}.", parameter=name
        )
    return id


def _capacity(text: str) -> int | None:
    if not text:
        return None
    if not (re.fullmatch("[0-9]{1,9}", text) and 1 <= int(text) <= MAX_CAPACITY):
        raise ApiError(
            400,
            f"capacity {text!r} is not allowed: it takes a whole number of GB "
            f"from 1 to {MAX_CAPACITY}.",
            parameter="capacity",
        )
    return int(text)
