"""Storage snapshots: the four operations of the API page, and the form for browsers."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.html import writer as html_writer
from dcproxy.deltacloud.models import ErrorDocument, StorageVolume
from dcproxy.deltacloud.responses import document_response
from dcproxy.ec2 import reader
from dcproxy.ec2.records import DetailedSnapshot, Page
from dcproxy.operations import forms, lists, members, translation
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.snapshot import create_snapshot
from dcproxy.operations.members import SNAPSHOTS, VOLUMES
from dcproxy.settings import OWNERS

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
    pages = members.find_all(call, SNAPSHOTS, reader.snapshots, **_owners(call, owner_id))
    return lists.list_response(call, "storage_snapshots", pages, translation.storage_snapshots)


def _index_page(call: ApiCall) -> Response:
    """Send the list as a page: ``?search=`` leaves what it finds.

    People rarely want the public snapshots of everyone, so they get their own by default.
    """
    query = call.request.query
    default = "" if "id" in query or call.settings.owners else "self"
    owner_id = query.get("owner_id", default)
    search = query.get("search", "").strip()
    if search and "id" not in query:
        pages = _search(call, search, _owners(call, owner_id))
    else:
        pages = members.find_all(
            call, SNAPSHOTS, reader.detailed_snapshots, **_owners(call, owner_id)
        )
    render = partial(html_writer.collection, search=search, owner_id=owner_id)
    return lists.list_response(
        call, "storage_snapshots", pages, translation.storage_snapshots, render
    )


def _search(
    call: ApiCall, text: str, owners: Mapping[str, Any]
) -> Iterator[Page[DetailedSnapshot]]:
    """Find snapshots by an id when ``text`` looks like one, else by name or description.

    A snapshot of EC2 has to match all filters of a request, so each filter has its own requests.
    """
    filters = next(filters for shape, filters in _FILTERS.items() if shape.fullmatch(text))
    # A backslash in a filter quotes the character after it (Amazon EC2 User Guide).
    pattern = text if "*" in text else "*{}*".format(text.replace("\\", "\\\\"))
    found: set[str] = set()
    for filter in filters:
        pages = lists.paginate(
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
    is_page = call.request.format.is_page
    parse: Callable[..., Page[Any]] = reader.detailed_snapshots if is_page else reader.snapshots
    return members.member_response(
        call, SNAPSHOTS, members.find(call, SNAPSHOTS, parse, call.request.id)
    )


def new(call: ApiCall) -> Response:
    """``GET /api/storage_snapshots/new``: a form, available as HTML only."""
    forms.check_is_page(call)
    volumes = _offered_volumes(call)
    form = html_writer.new_storage_snapshot(call.request.query, call.urls, volumes)
    return document_response(call.request.format, form)


def _offered_volumes(call: ApiCall) -> Sequence[StorageVolume]:
    volumes = forms.choices(call, reader.volumes, "DescribeVolumes", MaxResults=_OFFERED_VOLUMES)
    return translation.storage_volumes(volumes)


def create(call: ApiCall) -> Response:
    """``POST /api/storage_snapshots`` with ``volume_id``, ``name`` and ``description``."""
    return forms.create_or_form(call, _create, _filled_form)


def _create(call: ApiCall) -> Response:
    params = call.request.parameters
    volume_id = params.get("volume_id", "")
    if not VOLUMES.id.fullmatch(volume_id):
        raise ApiError(
            400,
            f"volume_id {volume_id!r} is not the id of a volume, such as vol-0bc0de60."
            if volume_id
            else "volume_id is missing: it takes the id of the volume to make a snapshot of.",
            parameter="volume_id",
        )
    name, description = params.get("name", ""), params.get("description", "")
    snapshot = create_snapshot(call, volume_id, name, description)
    return members.member_response(call, SNAPSHOTS, snapshot, 201)


def _filled_form(call: ApiCall, document: ErrorDocument) -> str:
    volumes = _offered_volumes(call) if document.parameter == "volume_id" else ()
    return html_writer.new_storage_snapshot(call.request.parameters, call.urls, volumes, document)


def destroy(call: ApiCall) -> Response:
    """``DELETE /api/storage_snapshots/:id``."""
    return members.delete(call, SNAPSHOTS)


def destroy_by_post(call: ApiCall) -> Response:
    """``POST /api/storage_snapshots/:id`` with ``_method=delete``, as HTML forms send it."""
    return members.delete_by_post(call, SNAPSHOTS)
