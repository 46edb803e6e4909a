"""Storage snapshots: the four operations of the API page, and the form for browsers."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import ErrorDocument, StorageVolume
from dcproxy.deltacloud.renderers import html
from dcproxy.deltacloud.responses import document_response
from dcproxy.ec2 import xml
from dcproxy.ec2.records import DetailedSnapshot, Page, Snapshot
from dcproxy.operations import snapshot_creation, translation
from dcproxy.operations.context import OperationContext, call_ec2
from dcproxy.operations.deletion import delete, delete_by_post
from dcproxy.operations.ids import SNAPSHOT_ID, VOLUME_ID, check_id
from dcproxy.operations.lists import list_response, member_response, one_or_none, paginate
from dcproxy.operations.pages import check_is_page, choices, create_or_form, reload
from dcproxy.settings import OWNERS

AnySnapshot = TypeVar("AnySnapshot", Snapshot, DetailedSnapshot)

_FILTERS = {
    re.compile("snap-[0-9A-Fa-f*]*"): ["snapshot-id"],
    re.compile("vol-[0-9A-Fa-f*]*"): ["volume-id"],
    re.compile(".*", re.DOTALL): ["tag:Name", "description"],
}
"""The filters of EC2 that search for a text of such a shape; the first one that fits counts."""

_OFFERED_VOLUMES = 500


def index(context: OperationContext) -> Response:
    """``GET /api/storage_snapshots``; ``?id=`` leaves that one, ``?owner_id=`` those of owners."""
    if context.request.format.is_page:
        return _index_page(context)
    owner_id = context.request.query.get("owner_id", "")
    pages = _pages(context, xml.snapshots, owner_id)
    return list_response(context, "storage_snapshots", pages, translation.storage_snapshots)


def _index_page(context: OperationContext) -> Response:
    """Send the list as a page: ``?search=`` leaves what it finds.

    People rarely want the public snapshots of everyone, so they get their own by default.
    """
    query = context.request.query
    default = "" if "id" in query or context.settings.owners else "self"
    owner_id = query.get("owner_id", default)
    search = query.get("search", "").strip()
    if search and "id" not in query:
        pages = _search(context, search, owner_id)
    else:
        pages = _pages(context, xml.detailed_snapshots, owner_id)
    render = partial(html.collection, search=search, owner_id=owner_id)
    return list_response(context, "storage_snapshots", pages, translation.storage_snapshots, render)


def _pages(
    context: OperationContext, parse: Callable[[bytes], Page[AnySnapshot]], owner_id: str
) -> Iterator[Page[AnySnapshot]]:
    owners = _owners(context, owner_id)
    id = context.request.query.get("id")
    if id is not None:
        # EC2 takes either ids or a page size.
        return one_or_none(lambda: _snapshot(context, parse, id, **owners))
    page_size = context.settings.page_size
    return paginate(context, parse, "DescribeSnapshots", MaxResults=page_size, **owners)


def _search(
    context: OperationContext, text: str, owner_id: str
) -> Iterator[Page[DetailedSnapshot]]:
    """Find snapshots by an id when ``text`` looks like one, else by name or description.

    A snapshot of EC2 has to match all filters of a request, so each filter has its own requests.
    """
    owners = _owners(context, owner_id)
    filters = next(filters for shape, filters in _FILTERS.items() if shape.fullmatch(text))
    # A backslash in a filter quotes the character after it (Amazon EC2 User Guide).
    pattern = text if "*" in text else "*{}*".format(text.replace("\\", "\\\\"))
    found: set[str] = set()
    for filter in filters:
        pages = paginate(
            context,
            xml.detailed_snapshots,
            "DescribeSnapshots",
            MaxResults=context.settings.page_size,
            Filters=[{"Name": filter, "Values": [pattern]}],
            **owners,
        )
        for page in pages:
            records = [record for record in page.records if record.id not in found]
            found.update(record.id for record in records)
            is_last = not page.next_token and filter == filters[-1]
            yield Page(records, "" if is_last else "more")
        context = context.with_new_deadline()


def _owners(context: OperationContext, text: str) -> dict[str, Any]:
    """Return the parameters of EC2 for ``owner_id``; an empty one stands for the option."""
    if not text:
        return {"OwnerIds": context.settings.owners} if context.settings.owners else {}
    try:
        owners: tuple[str, ...] = OWNERS.parse(text)
    except ValueError as error:
        raise ApiError(
            400, f"owner_id {text!r} is not allowed: it takes {OWNERS.allowed}."
        ) from error
    return {"OwnerIds": owners}


def show(context: OperationContext) -> Response:
    """``GET /api/storage_snapshots/:id``."""
    id = context.request.id
    if context.request.format.is_page:
        return _snapshot_response(context, _snapshot(context, xml.detailed_snapshots, id))
    return _snapshot_response(context, _snapshot(context, xml.snapshots, id))


def _snapshot_response(
    context: OperationContext, snapshot: Snapshot | DetailedSnapshot, status: int = 200
) -> Response:
    [model] = translation.storage_snapshots([snapshot])
    response = member_response(context, "storage_snapshots", model, status)
    if model.is_pending:
        reload(context, response, context.urls.member("storage_snapshots", model.id))
    return response


def _snapshot(
    context: OperationContext, parse: Callable[[bytes], Page[AnySnapshot]], id: str, **owners: Any
) -> AnySnapshot:
    check_id(SNAPSHOT_ID, id)
    page = call_ec2(context, parse, "DescribeSnapshots", SnapshotIds=[id], **owners)
    if not page.records:
        raise ApiError(404, f"There is no storage snapshot {id}.")
    return page.records[0]


def new(context: OperationContext) -> Response:
    """``GET /api/storage_snapshots/new``: a form, available as HTML only."""
    check_is_page(context)
    volumes = _offered_volumes(context)
    form = html.new_storage_snapshot(context.request.query, context.urls, volumes)
    return document_response(context.request.format, form)


def _offered_volumes(context: OperationContext) -> Sequence[StorageVolume]:
    volumes = choices(context, xml.volumes, "DescribeVolumes", MaxResults=_OFFERED_VOLUMES)
    return translation.storage_volumes(volumes)


def create(context: OperationContext) -> Response:
    """``POST /api/storage_snapshots`` with ``volume_id``, ``name`` and ``description``."""
    return create_or_form(context, _created, _filled_form)


def _created(context: OperationContext) -> Response:
    snapshot = _create(context)
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


def _filled_form(context: OperationContext, document: ErrorDocument) -> str:
    volumes = _offered_volumes(context) if document.parameter == "volume_id" else ()
    return html.new_storage_snapshot(context.request.parameters, context.urls, volumes, document)


def destroy(context: OperationContext) -> Response:
    """``DELETE /api/storage_snapshots/:id``."""
    check_id(SNAPSHOT_ID, context.request.id)
    return delete(context, "DeleteSnapshot", SnapshotId=context.request.id)


def destroy_by_post(context: OperationContext) -> Response:
    """``POST /api/storage_snapshots/:id`` with ``_method=delete``, as HTML forms send it."""
    return delete_by_post(context, "storage_snapshots", destroy)
