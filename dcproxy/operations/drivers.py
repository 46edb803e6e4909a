"""Drivers: the only one is EC2, and its providers are the regions."""

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import Driver
from dcproxy.deltacloud.protocol import DRIVER, DRIVER_NAME
from dcproxy.deltacloud.responses import document_response
from dcproxy.operations.call import ApiCall


def index(call: ApiCall) -> Response:
    """``GET /api/drivers``; ``?id=`` leaves that one."""
    drivers = [_driver(call)] if call.request.query.get("id", DRIVER) == DRIVER else []
    return document_response(call.request.format, call.renderer.drivers(drivers, call.urls))


def show(call: ApiCall) -> Response:
    """``GET /api/drivers/:id``."""
    if call.request.id != DRIVER:
        raise ApiError(404, f"There is no driver {call.request.id!r}, only {DRIVER}.")
    document = call.renderer.member("drivers", _driver(call), call.urls)
    return document_response(call.request.format, document)


def _driver(call: ApiCall) -> Driver:
    return Driver(DRIVER, DRIVER_NAME, call.client.hosts)
