"""Realms: the availability zones of EC2."""

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import xml
from dcproxy.ec2.records import Zone
from dcproxy.operations import translation
from dcproxy.operations.context import OperationContext, call_ec2
from dcproxy.operations.lists import list_response, member_response, one_or_none, paginate


def index(context: OperationContext) -> Response:
    """``GET /api/realms``; ``?id=`` leaves that one."""
    if "id" in context.request.query:
        pages = one_or_none(lambda: _zone(context, context.request.query["id"]))
    else:
        pages = paginate(context, xml.zones, "DescribeAvailabilityZones")
    return list_response(context, "realms", pages, translation.realms)


def show(context: OperationContext) -> Response:
    """``GET /api/realms/:id``."""
    [realm] = translation.realms([_zone(context, context.request.id)])
    return member_response(context, "realms", realm)


def _zone(context: OperationContext, name: str) -> Zone:
    for zone in call_ec2(context, xml.zones, "DescribeAvailabilityZones").records:
        if zone.name == name:
            return zone
    raise ApiError(404, f"There is no realm {name!r} in {context.region}.")
