"""Storage snapshots: the four operations of the API page, and the form for browsers."""

from typing import Any

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import ErrorDocument
from dcproxy.deltacloud.renderers import html
from dcproxy.deltacloud.responses import document_response, error_response
from dcproxy.ec2 import xml
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.records import Snapshot
from dcproxy.operations import snapshot_creation, translation
from dcproxy.operations.context import OperationContext, call_ec2
from dcproxy.operations.deletion import delete, delete_by_post
from dcproxy.operations.ids import SNAPSHOT_ID, VOLUME_ID, check_id
from dcproxy.operations.lists import list_response, member_response, one_or_none, paginate
from dcproxy.settings import OWNERS


def index(context: OperationContext) -> Response:
    """``GET /api/storage_snapshots``; ``?id=`` leaves that one, ``?owner_id=`` those of owners."""
    query = context.request.query
    owners = context.settings.owners
    if query.get("owner_id"):
        owners = _owners(query["owner_id"])
    filters: dict[str, Any] = {"OwnerIds": owners} if owners else {}
    if "id" in query:
        # EC2 takes either ids or a page size.
        pages = one_or_none(lambda: _snapshot(context, query["id"], **filters))
    else:
        page_size = context.settings.page_size
        pages = paginate(
            context, xml.snapshots, "DescribeSnapshots", MaxResults=page_size, **filters
        )
    return list_response(context, "storage_snapshots", pages, translation.storage_snapshots)


def _owners(text: str) -> tuple[str, ...]:
    try:
        owners: tuple[str, ...] = OWNERS.parse(text)
    except ValueError as error:
        raise ApiError(
            400, f"owner_id {text!r} is not allowed: it takes {OWNERS.allowed}."
        ) from error
    return owners


def show(context: OperationContext) -> Response:
    """``GET /api/storage_snapshots/:id``."""
    return _snapshot_response(context, _snapshot(context, context.request.id))


def _snapshot_response(
    context: OperationContext, snapshot: Snapshot, status: int = 200
) -> Response:
    [model] = translation.storage_snapshots([snapshot])
    return member_response(context, "storage_snapshots", model, status)


def _snapshot(context: OperationContext, id: str, **filters: Any) -> Snapshot:
    check_id(SNAPSHOT_ID, id)
    page = call_ec2(context, xml.snapshots, "DescribeSnapshots", SnapshotIds=[id], **filters)
    if not page.records:
        raise ApiError(404, f"There is no storage snapshot {id}.")
    return page.records[0]


def new(context: OperationContext) -> Response:
    """``GET /api/storage_snapshots/new``: a form, available as HTML only."""
    if not context.request.format.is_page:
        raise ApiError(406, "This form is available as text/html only.")
    form = html.new_storage_snapshot(context.request.query, context.urls)
    return document_response(context.request.format, form)


def create(context: OperationContext) -> Response:
    """``POST /api/storage_snapshots`` with ``volume_id``, ``name`` and ``description``."""
    try:
        snapshot = _create(context)
    except (ApiError, EC2Error) as error:
        if not context.request.format.is_page:
            raise
        return _filled_form(context, error)
    response = _snapshot_response(context, snapshot, 201)
    response.location = context.urls.member("storage_snapshots", snapshot.id)
    return response


def _create(context: OperationContext) -> Snapshot:
    params = context.request.parameters
    volume_id = params.get("volume_id", "")
    if not VOLUME_ID.fullmatch(volume_id):
        raise ApiError(
            400,
            f"volume_id {volume_id!r} is not the id of a volume, such as vol-0bc0de60."
            if volume_id
            else "volume_id is missing: it takes the id of the volume to make a snapshot of.",
            parameter="volume_id",
        )
    return snapshot_creation.create(
        context, volume_id, params.get("name", ""), params.get("description", "")
    )


def _filled_form(context: OperationContext, error: Exception) -> Response:
    """Send the form again, with the error and what the person filled in."""
    request = context.request

    def render(document: ErrorDocument) -> str:
        return html.new_storage_snapshot(request.parameters, context.urls, document)

    return error_response(request, translation.api_error(error), context.request_context, render)


def destroy(context: OperationContext) -> Response:
    """``DELETE /api/storage_snapshots/:id``."""
    check_id(SNAPSHOT_ID, context.request.id)
    return delete(context, "DeleteSnapshot", SnapshotId=context.request.id)


def destroy_by_post(context: OperationContext) -> Response:
    """``POST /api/storage_snapshots/:id`` with ``_method=delete``, as HTML forms send it."""
    return delete_by_post(context, "storage_snapshots", destroy)
