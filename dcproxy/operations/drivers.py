"""Drivers: the only one is EC2, and its providers are the regions."""

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.protocol import DRIVER
from dcproxy.deltacloud.responses import document_response
from dcproxy.operations import translation
from dcproxy.operations.context import OperationContext


def index(context: OperationContext) -> Response:
    """``GET /api/drivers``; ``?id=`` leaves that one."""
    drivers = translation.drivers(context.ec2.hosts)
    if context.request.query.get("id", DRIVER) != DRIVER:
        drivers = []
    document = context.renderer.drivers(drivers, context.urls)
    return document_response(context.request.format, document)


def show(context: OperationContext) -> Response:
    """``GET /api/drivers/:id``."""
    if context.request.id != DRIVER:
        raise ApiError(404, f"There is no driver {context.request.id!r}, only {DRIVER}.")
    [driver] = translation.drivers(context.ec2.hosts)
    return document_response(context.request.format, context.renderer.driver(driver, context.urls))
