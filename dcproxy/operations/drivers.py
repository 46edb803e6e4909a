"""Drivers: the only one is EC2, and its providers are the regions."""

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import Driver
from dcproxy.deltacloud.protocol import DRIVER, DRIVER_NAME
from dcproxy.operations.call import ApiCall


def index(call: ApiCall) -> Response:
    """``GET /api/drivers``; ``?id=`` leaves that one."""
    is_left = call.request.query.get("id", DRIVER) == DRIVER
    return call.respond("drivers", [_driver(call)] if is_left else [])


def show(call: ApiCall) -> Response:
    """``GET /api/drivers/:id``."""
    if call.request.id != DRIVER:
        raise ApiError(404, f"There is no driver {call.request.id!r}, only {DRIVER}.")
    return call.respond("driver", _driver(call))


def _driver(call: ApiCall) -> Driver:
    return Driver(DRIVER, DRIVER_NAME, call.client.hosts)
