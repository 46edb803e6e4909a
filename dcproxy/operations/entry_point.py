"""The entry point, with which clients start and log in."""

from webob import Response

from dcproxy.deltacloud.responses import document_response
from dcproxy.ec2 import xml
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.operations.context import OperationContext, call_ec2


def show(context: OperationContext) -> Response:
    """``GET /api``; with ``force_auth`` it checks the credentials against EC2."""
    request = context.request
    if request.credentials:
        _check_credentials(context)
    document = context.renderer.entry_point(request.provider, context.urls)
    return document_response(request.format, document)


def _check_credentials(context: OperationContext) -> None:
    try:
        call_ec2(context, xml.zones_response, "DescribeAvailabilityZones")
    except EC2Error as error:
        # A caller who may not list zones has proved who it is.
        is_known = error.code in {"UnauthorizedOperation", "AccessDenied"}
        if not (is_known and error.outcome is Outcome.REFUSED):
            raise
