"""Storage snapshots: the four operations of the API page, and the form for people."""

from collections.abc import Mapping

from webob import Response

from dcproxy import native, parameters
from dcproxy.documents import html
from dcproxy.errors import DeltacloudError
from dcproxy.native import Snapshot
from dcproxy.operations import creation
from dcproxy.operations.call import Call, ask, document, documents, one_or_none, pages
from dcproxy.operations.ids import SNAPSHOT_ID, VOLUME_ID, check_id
from dcproxy.routes import allowed_methods
from dcproxy.settings import OWNERS_ALLOWED, owner_ids


def index(call: Call) -> Response:
    """``GET /api/storage_snapshots``, with ``?id=`` just that one, with ``?owner_id=`` theirs."""
    owners = call.settings.owners
    if call.query.get("owner_id"):
        owners = _owners(call.query["owner_id"])
    filters = {"OwnerIds": owners} if owners else {}
    if "id" in call.query:
        # EC2 takes either ids or a page size.
        found = one_or_none(lambda: _snapshot(call, call.query["id"], **filters))
    else:
        page_size = call.settings.page_size
        found = pages(call, native.snapshots, "describe_snapshots", MaxResults=page_size, **filters)
    return documents(call, found, call.format.documents.storage_snapshots)


def _owners(text: str) -> tuple[str, ...]:
    try:
        return owner_ids(text)
    except ValueError:
        raise DeltacloudError(
            400, f"owner_id {text!r} names no owner: it takes {OWNERS_ALLOWED}."
        ) from None


def show(call: Call) -> Response:
    """``GET /api/storage_snapshots/:id``."""
    snapshot = _snapshot(call, call.route.id)
    return document(call, call.format.documents.storage_snapshot(snapshot, call.urls))


def _snapshot(call: Call, id: str, **filters: object) -> Snapshot:
    check_id(SNAPSHOT_ID, id)
    page = ask(call, native.snapshots, "describe_snapshots", SnapshotIds=[id], **filters)
    if not page.records:
        raise DeltacloudError(404, f"There is no storage snapshot {id}.")
    return page.records[0]


def new(call: Call) -> Response:
    """``GET /api/storage_snapshots/new``: a form, which only a page can be."""
    if not call.format.is_page:
        raise DeltacloudError(406, "This is a form for people: it comes as text/html only.")
    return document(call, html.new_storage_snapshot(call.query, call.urls))


def create(call: Call) -> Response:
    """``POST /api/storage_snapshots`` with ``volume_id``, ``name`` and ``description``."""
    given = call.query | parameters.form(call.request)
    try:
        snapshot = _create(call, given)
    except DeltacloudError as error:
        error.form = given
        raise
    response = document(call, call.format.documents.storage_snapshot(snapshot, call.urls), 201)
    response.location = call.urls.member("storage_snapshots", snapshot.id)
    return response


def _create(call: Call, given: Mapping[str, str]) -> Snapshot:
    volume_id = given.get("volume_id", "")
    if not VOLUME_ID.fullmatch(volume_id):
        raise DeltacloudError(
            400,
            f"volume_id {volume_id!r} is not the id of a volume, such as vol-0bc0de60."
            if volume_id
            else "volume_id is missing: it takes the id of the volume to make a snapshot of.",
            parameter="volume_id",
        )
    return creation.create(call, volume_id, given.get("name", ""), given.get("description", ""))


def destroy(call: Call) -> Response:
    """``DELETE /api/storage_snapshots/:id``."""
    check_id(SNAPSHOT_ID, call.route.id)
    try:
        ask(call, native.deleted, "delete_snapshot", SnapshotId=call.route.id)
    except DeltacloudError as error:
        # Gone by the first try, whose answer was lost.
        if not (error.status == 404 and error.after_lost_answer):
            raise
    return Response(status=204)


def destroy_by_post(call: Call) -> Response:
    """``POST /api/storage_snapshots/:id`` with ``_method=delete``: forms know no DELETE."""
    given = call.query | parameters.form(call.request)
    if given.get("_method", "").lower() != "delete":
        raise DeltacloudError(
            405,
            "POST is possible here only with the parameter _method=delete.",
            headers={"Allow": ", ".join(allowed_methods(call.request.path_info))},
        )
    response = destroy(call)
    if call.format.is_page:
        to_the_list = [("Location", call.urls.collection("storage_snapshots"))]
        return Response(status=303, headerlist=to_the_list)
    return response
