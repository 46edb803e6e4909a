"""Realms: the availability zones of EC2."""

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.ec2 import reader
from dcproxy.ec2.records import Zone
from dcproxy.operations import translation
from dcproxy.operations.call import ApiCall
from dcproxy.operations.lists import list_response, one_or_none, paginate


def index(call: ApiCall) -> Response:
    """``GET /api/realms``; ``?id=`` leaves that one."""
    if "id" in call.request.query:
        pages = one_or_none(lambda: _zone(call, call.request.query["id"]))
    else:
        pages = paginate(call, reader.zones, "DescribeAvailabilityZones")
    return list_response(call, "realms", pages, translation.realms)


def show(call: ApiCall) -> Response:
    """``GET /api/realms/:id``."""
    [realm] = translation.realms([_zone(call, call.request.id)])
    return call.respond("realm", realm)


def _zone(call: ApiCall, name: str) -> Zone:
    for zone in call.ec2(reader.zones, "DescribeAvailabilityZones").records:
        if zone.name == name:
            return zone
    raise ApiError(404, f"There is no realm {name!r} in {call.region}.")
