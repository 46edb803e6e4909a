"""Storage volumes, to read only: what the snapshots link to."""

from webob import Response

from dcproxy import native
from dcproxy.errors import DeltacloudError
from dcproxy.native import Volume
from dcproxy.operations.call import Call, ask, document, documents, one_or_none, pages
from dcproxy.operations.ids import VOLUME_ID, check_id


def index(call: Call) -> Response:
    """``GET /api/storage_volumes``, with ``?id=`` just that one."""
    if "id" in call.query:
        found = one_or_none(lambda: _volume(call, call.query["id"]))
    else:
        page_size = call.settings.page_size
        found = pages(call, native.volumes, "describe_volumes", MaxResults=page_size)
    return documents(call, found, call.format.documents.storage_volumes)


def show(call: Call) -> Response:
    """``GET /api/storage_volumes/:id``."""
    volume = _volume(call, call.route.id)
    return document(call, call.format.documents.storage_volume(volume, call.urls))


def _volume(call: Call, id: str) -> Volume:
    check_id(VOLUME_ID, id)
    page = ask(call, native.volumes, "describe_volumes", VolumeIds=[id])
    if not page.records:
        raise DeltacloudError(404, f"There is no storage volume {id}.")
    return page.records[0]
