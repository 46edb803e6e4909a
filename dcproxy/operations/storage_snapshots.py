"""Storage snapshots: the four operations of the API page, and the form for browsers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.html import writer as html_writer
from dcproxy.deltacloud.models import ErrorDocument
from dcproxy.ec2 import reader
from dcproxy.ec2.records import Page, Snapshot, Volume
from dcproxy.operations import forms, lists, members, translation
from dcproxy.operations.call import ApiCall
from dcproxy.operations.creating.snapshot import create_snapshot
from dcproxy.operations.members import DETAILED_SNAPSHOTS, SNAPSHOTS, VOLUMES
from dcproxy.settings import OWNERS

_FILTERS = {
    re.compile("snap-[0-9A-Fa-f*]*"): ["snapshot-id"],
    re.compile("vol-[0-9A-Fa-f*]*"): ["volume-id"],
    re.compile(".*", re.DOTALL): ["tag:Name", "description"],
}
"""The filters of EC2 that search for a text of such a shape; the first one that fits counts."""

_MAX_CHOICES = 500


def index(call: ApiCall) -> Response:
    """``GET /api/storage_snapshots``; ``?id=`` leaves that one, ``?owner_id=`` those of owners.

    ``?search=`` leaves what it finds, in pages only. People rarely want the public snapshots of
    everyone, so pages have their own by default.
    """
    query = call.request.query
    is_page = call.request.format.is_page
    default = "self" if is_page and "id" not in query and not call.settings.owners else ""
    owner_id = query.get("owner_id", default)
    owners = _owners(call, owner_id)
    search = query.get("search", "").strip() if is_page else ""
    if search and "id" not in query:
        pages = _search(call, search, owners)
    else:
        pages = members.find_all(call, DETAILED_SNAPSHOTS if is_page else SNAPSHOTS, **owners)
    page = partial(html_writer.collection, search=search, owner_id=owner_id)
    return lists.list_response(
        call, "storage_snapshots", pages, translation.storage_snapshots, page if is_page else None
    )


def _search(call: ApiCall, text: str, owners: Mapping[str, Any]) -> Iterator[Page[Snapshot]]:
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
        message = f"owner_id {text!r} is not allowed: it takes {OWNERS.allowed}."
        raise ApiError(400, message) from error
    return {"OwnerIds": owners}


def show(call: ApiCall) -> Response:
    """``GET /api/storage_snapshots/:id``."""
    kind = DETAILED_SNAPSHOTS if call.request.format.is_page else SNAPSHOTS
    return members.member_response(call, kind, members.find(call, kind, call.request.id))


def new(call: ApiCall) -> Response:
    """``GET /api/storage_snapshots/new``: a form, available as HTML only."""
    return forms.new(call, _form)


def _form(call: ApiCall, error: ErrorDocument | None) -> str:
    volumes: Sequence[Volume] = ()
    if error is None or error.parameter == "volume_id":
        volumes = forms.choices(call, reader.volumes, "DescribeVolumes", MaxResults=_MAX_CHOICES)
    return html_writer.document(
        "new_storage_snapshot",
        None,
        call.urls,
        values=call.request.parameters,
        error=error,
        volumes=translation.storage_volumes(volumes),
    )


@forms.shown_again(_form)
def create(call: ApiCall) -> Response:
    """``POST /api/storage_snapshots`` with ``volume_id``, ``name`` and ``description``."""
    params = call.request.parameters
    volume_id = members.id_parameter(call, "volume_id", VOLUMES.id, "vol-0bc0de60")
    if not volume_id:
        message = "volume_id is missing: it takes the id of the volume to make a snapshot of."
        raise ApiError(400, message, parameter="volume_id")
    name, description = params.get("name", ""), params.get("description", "")
    snapshot = create_snapshot(call, volume_id, name, description)
    return members.member_response(call, SNAPSHOTS, snapshot, 201)


destroy = partial(members.delete, SNAPSHOTS)
destroy_by_post = partial(members.delete_by_post, SNAPSHOTS)
