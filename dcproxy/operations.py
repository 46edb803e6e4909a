"""One function for each Deltacloud operation: it reads the request, asks EC2, and answers."""

import errno
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha1
from itertools import chain
from typing import Any, TypeVar

from webob import Request, Response

from dcproxy import credentials, native, parameters
from dcproxy.documents.choice import Format
from dcproxy.ec2 import EC2
from dcproxy.errors import DeltacloudError
from dcproxy.native import Page, Snapshot
from dcproxy.routes import Route, Urls
from dcproxy.settings import OWNERS_ALLOWED, Settings, owner_ids

_SNAPSHOT_ID = re.compile(r"snap-[0-9A-Fa-f]{8,17}")
_VOLUME_ID = re.compile(r"vol-[0-9A-Fa-f]{8,17}")

Answer = TypeVar("Answer")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One Deltacloud request, as its operation sees it.

    ``provider`` is the one that the request named; None where the settings decide.
    """

    request: Request
    query: dict[str, str]
    route: Route
    urls: Urls
    format: Format
    provider: str | None
    ec2: EC2
    settings: Settings

    @property
    def region(self) -> str:
        """The region of EC2 to ask."""
        return self.provider or self.settings.provider


def _entry_point(call: Call) -> Response:
    if call.query.get("force_auth", "").lower() not in {"", "0", "false"}:
        _check_credentials(call)
    return _document(call, call.format.documents.entry_point(call.urls, call.provider))


def _check_credentials(call: Call) -> None:
    try:
        _ask(call, bytes, "describe_availability_zones")
    except DeltacloudError as error:
        # Who may not list zones has still proved who they are.
        if error.status != 403:
            raise


def _index_snapshots(call: Call) -> Response:
    filters: dict[str, object] = {}
    owners = call.settings.owners
    if call.query.get("owner_id"):
        owners = _owners(call.query["owner_id"])
    if owners:
        filters["OwnerIds"] = owners
    pages = _snapshot_pages(call, filters)
    return _list(call, pages, call.format.documents.storage_snapshots)


def _owners(text: str) -> tuple[str, ...]:
    try:
        return owner_ids(text)
    except ValueError:
        raise DeltacloudError(
            400, f"owner_id {text!r} names no owner: it takes {OWNERS_ALLOWED}."
        ) from None


def _snapshot_pages(call: Call, filters: dict[str, object]) -> Iterator[Page[Snapshot]]:
    if "id" in call.query:
        # EC2 takes either ids or a page size.
        yield _one_snapshot_or_none(call, call.query["id"], filters)
        return
    page = _ask(
        call, native.snapshots, "describe_snapshots", MaxResults=call.settings.page_size, **filters
    )
    tokens = {""}
    yield page
    while page.next_token:
        if page.next_token in tokens:
            raise DeltacloudError(502, f"EC2 in {call.region} repeats a page of the list.")
        tokens.add(page.next_token)
        page = _ask(
            call,
            native.snapshots,
            "describe_snapshots",
            MaxResults=call.settings.page_size,
            NextToken=page.next_token,
            **filters,
        )
        yield page


def _one_snapshot_or_none(call: Call, id: str, filters: dict[str, object]) -> Page[Snapshot]:
    try:
        return Page([_snapshot(call, id, **filters)], "")
    except DeltacloudError as error:
        if error.status != 404:
            raise
        return Page([], "")


def _show_snapshot(call: Call) -> Response:
    snapshot = _snapshot(call, call.route.id)
    return _document(call, call.format.documents.storage_snapshot(snapshot, call.urls))


def _snapshot(call: Call, id: str, **filters: object) -> Snapshot:
    _check_id(_SNAPSHOT_ID, id)
    page = _ask(call, native.snapshots, "describe_snapshots", SnapshotIds=[id], **filters)
    if not page.records:
        raise DeltacloudError(404, f"There is no storage snapshot {id}.")
    return page.records[0]


def _check_id(pattern: re.Pattern[str], id: str) -> None:
    if not pattern.fullmatch(id):
        raise DeltacloudError(404, f"There is no {id!r}: that is not an id of EC2.")


def _create_snapshot(call: Call) -> Response:
    given = call.query | parameters.form(call.request)
    volume_id = given.get("volume_id", "")
    if not _VOLUME_ID.fullmatch(volume_id):
        raise DeltacloudError(
            400,
            f"volume_id {volume_id!r} is not the id of a volume, such as vol-0bc0de60."
            if volume_id
            else "volume_id is missing: it takes the id of the volume to make a snapshot of.",
        )
    wanted: dict[str, Any] = {"VolumeId": volume_id}
    if given.get("description"):
        wanted["Description"] = given["description"]
    if given.get("name"):
        name_tag = {"Key": "Name", "Value": given["name"]}
        wanted["TagSpecifications"] = [{"ResourceType": "snapshot", "Tags": [name_tag]}]
    snapshot = _ask(call, native.created_snapshot, "create_snapshot", **wanted)
    response = _document(call, call.format.documents.storage_snapshot(snapshot, call.urls), 201)
    response.location = call.urls.member("storage_snapshots", snapshot.id)
    return response


def _destroy_snapshot(call: Call) -> Response:
    id = call.route.id
    _check_id(_SNAPSHOT_ID, id)
    _ask(call, native.deleted, "delete_snapshot", SnapshotId=id)
    return Response(status=204)


def _destroy_snapshot_by_post(call: Call) -> Response:
    given = call.query | parameters.form(call.request)
    if given.get("_method", "").lower() != "delete":
        raise DeltacloudError(
            405,
            "POST is possible here only with the parameter _method=delete.",
            headers={"Allow": "DELETE, GET, HEAD, OPTIONS, POST"},
        )
    response = _destroy_snapshot(call)
    if call.format.media_type == "text/html":
        return Response(status=303, location=call.urls.collection("storage_snapshots"))
    return response


OPERATIONS: dict[str, Callable[[Call], Response]] = {
    "entry_point.show": _entry_point,
    "storage_snapshots.index": _index_snapshots,
    "storage_snapshots.show": _show_snapshot,
    "storage_snapshots.create": _create_snapshot,
    "storage_snapshots.destroy": _destroy_snapshot,
    "storage_snapshots.destroy_by_post": _destroy_snapshot_by_post,
}
"""What each endpoint of the URL map does. An operation raises ``DeltacloudError`` to refuse."""


def _ask(
    call: Call, read: Callable[[bytes], Answer], action: str, **ec2_parameters: object
) -> Answer:
    """Ask EC2 with the caller's own credentials and read its answer."""
    caller = credentials.from_request(call.request)
    answer = call.ec2.call(call.region, caller, action, **ec2_parameters)
    try:
        return read(answer)
    except native.UnreadableError as error:
        raise DeltacloudError(
            502, f"EC2 in {call.region} gave an answer that cannot be read: {error}."
        ) from error


def _document(call: Call, text: str, status: int = 200) -> Response:
    body = text.encode()
    response = Response(
        body,
        status=status,
        headerlist=[("Content-Type", call.format.content_type)],
        conditional_response=True,
    )
    response.etag = sha1(body, usedforsecurity=False).hexdigest()
    return response


def _list(
    call: Call,
    pages: Iterator[Page[Answer]],
    write: Callable[[Iterator[Sequence[Answer]], Urls], Iterator[str]],
) -> Response:
    # The first page before the status line: an error then has its status.
    first = next(pages)
    texts = write(chain([first.records], (page.records for page in pages)), call.urls)
    if not first.next_token:
        return _document(call, "".join(texts))
    return Response(
        app_iter=_stream(texts),
        headerlist=[("Content-Type", call.format.content_type)],
    )


def _stream(texts: Iterator[str]) -> Iterator[bytes]:
    try:
        for text in texts:
            yield text.encode()
    except DeltacloudError as error:
        log.error("a list broke off: %s", error.message)
        # Not a well-formed end: the client must see that the list is cut. Servers take this
        # error for a client that went away, and close without a last chunk or a traceback.
        raise ConnectionResetError(errno.ECONNRESET, "the list broke off") from error
