"""Storage snapshots: the four operations of the API page, and the form for browsers."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.html import writer as html_writer
from dcproxy.deltacloud.models import ErrorDocument, StorageVolume
from dcproxy.deltacloud.responses import document_response
from dcproxy.ec2 import reader
from dcproxy.ec2.records import DetailedSnapshot, Page, Snapshot
from dcproxy.operations import translation
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.snapshot import create_snapshot
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


def index(call: ApiCall) -> Response:
    """``GET /api/storage_snapshots``; ``?id=`` leaves that one, ``?owner_id=`` those of owners."""
    if call.request.format.is_page:
        return _index_page(call)
    owner_id = call.request.query.get("owner_id", "")
    pages = _pages(call, reader.snapshots, owner_id)
    return list_response(call, "storage_snapshots", pages, translation.storage_snapshots)


def _index_page(call: ApiCall) -> Response:
    """Send the list as a page: ``?search=`` leaves what it finds.

    People rarely want the public snapshots of everyone, so they get their own by default.
    """
    query = call.request.query
    default = "" if "id" in query or call.settings.owners else "self"
    owner_id = query.get("owner_id", default)
    search = query.get("search", "").strip()
    if search and "id" not in query:
        pages = _search(call, search, owner_id)
    else:
        pages = _pages(call, reader.detailed_snapshots, owner_id)
    render = partial(html_writer.collection, search=search, owner_id=owner_id)
    return list_response(call, "storage_snapshots", pages, translation.storage_snapshots, render)


def _pages(
    call: ApiCall, parse: Callable[[bytes], Page[AnySnapshot]], owner_id: str
) -> Iterator[Page[AnySnapshot]]:
    owners = _owners(call, owner_id)
    id = call.request.query.get("id")
    if id is not None:
        # EC2 takes either ids or a page size.
        return one_or_none(lambda: _snapshot(call, parse, id, **owners))
    page_size = call.settings.page_size
    return paginate(call, parse, "DescribeSnapshots", MaxResults=page_size, **owners)


def _search(call: ApiCall, text: str, owner_id: str) -> Iterator[Page[DetailedSnapshot]]:
    """Find snapshots by an id when ``text`` looks like one, else by name or description.

    A snapshot of EC2 has to match all filters of a request, so each filter has its own requests.
    """
    owners = _owners(call, owner_id)
    filters = next(filters for shape, filters in _FILTERS.items() if shape.fullmatch(text))
    # A backslash in a filter quotes the character after it (Amazon EC2 User Guide).
    pattern = text if "*" in text else "*{}*".format(text.replace("\\", "\\\\"))
    found: set[str] = set()
    for filter in filters:
        pages = paginate(
            call,
            reader.detailed_snapshots,
            "DescribeSnapshots",
            MaxResults=call.settings.page_size,
            Filters=[{"Name": filter, "Values": [pattern]}],
            **owners,
        )
        for page in pages:
            records = [record for record in page.records if record.id not in found]
            found.update(record.id for record in records)
            is_last = not page.next_token and filter == filters[-1]
            yield Page(records, "" if is_last else "more")
        call = call.with_new_deadline()


def _owners(call: ApiCall, text: str) -> dict[str, Any]:
    """Return the parameters of EC2 for ``owner_id``; an empty one stands for the option."""
    if not text:
        return {"OwnerIds": call.settings.owners} if call.settings.owners else {}
    try:
        owners: tuple[str, ...] = OWNERS.parse(text)
    except ValueError as error:
        raise ApiError(
            400, f"owner_id {text!r} is not allowed: it takes {OWNERS.allowed}."
        ) from error
    return {"OwnerIds": owners}


def show(call: ApiCall) -> Response:
    """``GET /api/storage_snapshots/:id``."""
    id = call.request.id
    if call.request.format.is_page:
        return _snapshot_response(call, _snapshot(call, reader.detailed_snapshots, id))
    return _snapshot_response(call, _snapshot(call, reader.snapshots, id))


def _snapshot_response(
    call: ApiCall, snapshot: Snapshot | DetailedSnapshot, status: int = 200
) -> Response:
    [model] = translation.storage_snapshots([snapshot])
    response = member_response(call, "storage_snapshots", model, status)
    if model.is_pending:
        reload(call, response, call.urls.member("storage_snapshots", model.id))
    return response


def _snapshot(
    call: ApiCall, parse: Callable[[bytes], Page[AnySnapshot]], id: str, **owners: Any
) -> AnySnapshot:
    check_id(SNAPSHOT_ID, id)
    page = call.ec2(parse, "DescribeSnapshots", SnapshotIds=[id], **owners)
    if not page.records:
        raise ApiError(404, f"There is no storage snapshot {id}.")
    return page.records[0]


def new(call: ApiCall) -> Response:
    """``GET /api/storage_snapshots/new``: a form, available as HTML only."""
    check_is_page(call)
    volumes = _offered_volumes(call)
    form = html_writer.new_storage_snapshot(call.request.query, call.urls, volumes)
    return document_response(call.request.format, form)


def _offered_volumes(call: ApiCall) -> Sequence[StorageVolume]:
    volumes = choices(call, reader.volumes, "DescribeVolumes", MaxResults=_OFFERED_VOLUMES)
    return translation.storage_volumes(volumes)


def create(call: ApiCall) -> Response:
    """``POST /api/storage_snapshots`` with ``volume_id``, ``name`` and ``description``."""
    return create_or_form(call, _created, _filled_form)


def _created(call: ApiCall) -> Response:
    snapshot = _create(call)
    response = _snapshot_response(call, snapshot, 201)
    response.location = call.urls.member("storage_snapshots", snapshot.id)
    return response


def _create(call: ApiCall) -> Snapshot:
    params = call.request.parameters
    volume_id = params.get("volume_id", "")
    if not VOLUME_ID.fullmatch(volume_id):
        raise ApiError(
            400,
            f"volume_id {volume_id!r} is not the id of a volume, such as vol-0bc0de60."
            if volume_id
            else "volume_id is missing: it takes the id of the volume to make a snapshot of.",
            parameter="volume_id",
        )
    return create_snapshot(call, volume_id, params.get("name", ""), params.get("description", ""))


def _filled_form(call: ApiCall, document: ErrorDocument) -> str:
    volumes = _offered_volumes(call) if document.parameter == "volume_id" else ()
    return html_writer.new_storage_snapshot(call.request.parameters, call.urls, volumes, document)


def destroy(call: ApiCall) -> Response:
    """``DELETE /api/storage_snapshots/:id``."""
    check_id(SNAPSHOT_ID, call.request.id)
    return delete(call, "DeleteSnapshot", SnapshotId=call.request.id)


def destroy_by_post(call: ApiCall) -> Response:
    """``POST /api/storage_snapshots/:id`` with ``_method=delete``, as HTML forms send it."""
    return delete_by_post(call, "storage_snapshots", destroy)
