"""Drivers: there is one, EC2, and its providers are EC2's regions. Needs no credentials."""

from webob import Response

from dcproxy import deltacloud
from dcproxy.errors import DeltacloudError
from dcproxy.operations.call import Call, document


def index(call: Call) -> Response:
    """``GET /api/drivers``."""
    wanted = call.query.get("id", deltacloud.DRIVER) == deltacloud.DRIVER
    hosts = call.ec2.hosts if wanted else {}
    return document(call, call.format.documents.drivers(hosts, call.urls))


def show(call: Call) -> Response:
    """``GET /api/drivers/:id``."""
    if call.route.id != deltacloud.DRIVER:
        raise DeltacloudError(
            404, f"There is no driver {call.route.id!r}, only {deltacloud.DRIVER}."
        )
    return document(call, call.format.documents.driver(call.ec2.hosts, call.urls))
