"""Storage volumes, read-only."""

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import xml
from dcproxy.ec2.records import Volume
from dcproxy.operations import translation
from dcproxy.operations.context import OperationContext, call_ec2
from dcproxy.operations.ids import VOLUME_ID, check_id
from dcproxy.operations.lists import list_response, member_response, one_or_none, paginate


def index(context: OperationContext) -> Response:
    """``GET /api/storage_volumes``; ``?id=`` leaves that one."""
    if "id" in context.request.query:
        pages = one_or_none(lambda: _volume(context, context.request.query["id"]))
    else:
        page_size = context.settings.page_size
        pages = paginate(context, xml.volumes, "DescribeVolumes", MaxResults=page_size)
    return list_response(context, "storage_volumes", pages, translation.storage_volumes)


def show(context: OperationContext) -> Response:
    """``GET /api/storage_volumes/:id``."""
    [volume] = translation.storage_volumes([_volume(context, context.request.id)])
    return member_response(context, "storage_volumes", volume)


def _volume(context: OperationContext, id: str) -> Volume:
    check_id(VOLUME_ID, id)
    page = call_ec2(context, xml.volumes, "DescribeVolumes", VolumeIds=[id])
    if not page.records:
        raise ApiError(404, f"There is no storage volume {id}.")
    return page.records[0]
