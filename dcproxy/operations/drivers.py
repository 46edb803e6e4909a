"""Drivers: the only one is EC2, and its providers are the regions."""

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.protocol import DRIVER
from dcproxy.deltacloud.responses import document_response
from dcproxy.operations import translation
from dcproxy.operations.call import ApiCall


def index(call: ApiCall) -> Response:
    """``GET /api/drivers``; ``?id=`` leaves that one."""
    drivers = translation.drivers(call.client.hosts)
    if call.request.query.get("id", DRIVER) != DRIVER:
        drivers = []
    document = call.renderer.drivers(drivers, call.urls)
    return document_response(call.request.format, document)


def show(call: ApiCall) -> Response:
    """``GET /api/drivers/:id``."""
    if call.request.id != DRIVER:
        raise ApiError(404, f"There is no driver {call.request.id!r}, only {DRIVER}.")
    [driver] = translation.drivers(call.client.hosts)
    return document_response(call.request.format, call.renderer.driver(driver, call.urls))
