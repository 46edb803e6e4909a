"""Storage volumes: list, show, create, delete, attach and detach."""

import re
from collections.abc import Sequence

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import ErrorDocument, Realm
from dcproxy.deltacloud.renderers import html
from dcproxy.deltacloud.responses import document_response
from dcproxy.ec2 import xml
from dcproxy.ec2.records import Attachment, Page, Volume
from dcproxy.operations import translation, volume_attachment, volume_creation
from dcproxy.operations.context import OperationContext, call_ec2
from dcproxy.operations.deletion import delete, delete_by_post, see_other
from dcproxy.operations.ids import INSTANCE_ID, SNAPSHOT_ID, VOLUME_ID, check_id
from dcproxy.operations.lists import list_response, member_response, one_or_none, paginate
from dcproxy.operations.pages import check_is_page, choices, create_or_form, reload

MAX_CAPACITY = 65_536
"""GB of the largest volume of EC2."""


def index(context: OperationContext) -> Response:
    """``GET /api/storage_volumes``; ``?id=`` leaves that one."""
    if "id" in context.request.query:
        pages = one_or_none(lambda: _volume(context, context.request.query["id"])[0])
    else:
        page_size = context.settings.page_size
        pages = paginate(context, xml.volumes, "DescribeVolumes", MaxResults=page_size)
    return list_response(context, "storage_volumes", pages, translation.storage_volumes)


def show(context: OperationContext) -> Response:
    """``GET /api/storage_volumes/:id``."""
    volume, _ = _volume(context, context.request.id)
    return _volume_response(context, volume)


def new(context: OperationContext) -> Response:
    """``GET /api/storage_volumes/new``: a form, available as HTML only."""
    check_is_page(context)
    form = html.new_storage_volume(context.request.query, context.urls, _offered_realms(context))
    return document_response(context.request.format, form)


def _offered_realms(context: OperationContext) -> Sequence[Realm]:
    realms = translation.realms(choices(context, xml.zones, "DescribeAvailabilityZones"))
    return [realm for realm in realms if realm.limit is None]


def create(context: OperationContext) -> Response:
    """``POST /api/storage_volumes``; all parameters are optional.

    They are ``snapshot_id``, ``capacity``, ``realm_id``, ``name`` and ``description``.
    """
    return create_or_form(context, _created, _filled_form)


def _created(context: OperationContext) -> Response:
    volume = _create(context)
    response = _volume_response(context, volume, 201)
    response.location = context.urls.member("storage_volumes", volume.id)
    return response


def _create(context: OperationContext) -> Volume:
    params = context.request.parameters
    return volume_creation.create(
        context,
        snapshot_id=_id_parameter(context, "snapshot_id", SNAPSHOT_ID, "snap-45b8d024"),
        capacity=_capacity(params.get("capacity", "")),
        realm_id=params.get("realm_id", ""),
        name=params.get("name", ""),
        description=params.get("description", ""),
    )


def _filled_form(context: OperationContext, document: ErrorDocument) -> str:
    realms = _offered_realms(context) if document.parameter else ()
    return html.new_storage_volume(context.request.parameters, context.urls, realms, document)


def destroy(context: OperationContext) -> Response:
    """``DELETE /api/storage_volumes/:id``."""
    check_id(VOLUME_ID, context.request.id)
    return delete(context, "DeleteVolume", VolumeId=context.request.id)


def destroy_by_post(context: OperationContext) -> Response:
    """``POST /api/storage_volumes/:id`` with ``_method=delete``, as HTML forms send it."""
    return delete_by_post(context, "storage_volumes", destroy)


def attach(context: OperationContext) -> Response:
    """``POST /api/storage_volumes/:id/attach`` with ``instance_id``, and perhaps ``device``."""
    instance_id = _id_parameter(context, "instance_id", INSTANCE_ID, "i-1a2b3c4d")
    if not instance_id:
        raise ApiError(
            400,
            "instance_id is missing: it takes the id of the instance to attach the volume to.",
            parameter="instance_id",
        )
    volume, _ = _volume(context, context.request.id)
    device = context.request.parameters.get("device", "")
    return _accepted(context, volume_attachment.attach(context, volume, instance_id, device))


def detach(context: OperationContext) -> Response:
    """``POST /api/storage_volumes/:id/detach``.

    ``instance_id`` is needed for a volume that is attached to several instances.
    """
    instance_id = _id_parameter(context, "instance_id", INSTANCE_ID, "i-1a2b3c4d")
    volume, attachments = _volume(context, context.request.id)
    if not instance_id and len(attachments) > 1:
        instances = ", ".join(attachment.instance_id for attachment in attachments)
        raise ApiError(
            400,
            f"instance_id is missing: the volume is attached to {instances}.",
            parameter="instance_id",
        )
    instance_id = instance_id or volume.instance_id
    return _accepted(context, volume_attachment.detach(context, volume, instance_id))


def _accepted(context: OperationContext, volume: Volume) -> Response:
    if context.request.format.is_page:
        return see_other(context.urls.member("storage_volumes", volume.id))
    return _volume_response(context, volume, 202)


def _volume_response(context: OperationContext, volume: Volume, status: int = 200) -> Response:
    [model] = translation.storage_volumes([volume])
    response = member_response(context, "storage_volumes", model, status)
    if model.is_creating:
        reload(context, response, context.urls.member("storage_volumes", model.id))
    return response


def _volume(context: OperationContext, id: str) -> tuple[Volume, list[Attachment]]:
    """Return a volume and its attachments."""
    check_id(VOLUME_ID, id)

    def read(response: bytes) -> tuple[Page[Volume], list[Attachment]]:
        return xml.volumes(response), xml.attachments(response)

    page, attachments = call_ec2(context, read, "DescribeVolumes", VolumeIds=[id])
    if not page.records:
        raise ApiError(404, f"There is no storage volume {id}.")
    return page.records[0], attachments


def _id_parameter(
    context: OperationContext, name: str, pattern: re.Pattern[str], example: str
) -> str:
    """Return a parameter that is an id; an absent one is empty."""
    id = context.request.parameters.get(name, "")
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
