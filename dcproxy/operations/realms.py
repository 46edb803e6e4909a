"""Realms: EC2's availability zones."""

from webob import Response

from dcproxy import native
from dcproxy.errors import DeltacloudError
from dcproxy.native import Zone
from dcproxy.operations.call import Call, ask, document, documents, one_or_none, pages


def index(call: Call) -> Response:
    """``GET /api/realms``, with ``?id=`` just that one."""
    if "id" in call.query:
        found = one_or_none(lambda: _zone(call, call.query["id"]))
    else:
        found = pages(call, native.zones, "describe_availability_zones")
    return documents(call, found, call.format.documents.realms)


def show(call: Call) -> Response:
    """``GET /api/realms/:id``."""
    zone = _zone(call, call.route.id)
    return document(call, call.format.documents.realm(zone, call.urls))


def _zone(call: Call, name: str) -> Zone:
    for zone in ask(call, native.zones, "describe_availability_zones").records:
        if zone.name == name:
            return zone
    raise DeltacloudError(404, f"There is no realm {name!r} in {call.region}.")
