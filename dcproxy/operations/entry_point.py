"""The entry point, with which clients start and log in."""

import re

from webob import Response

from dcproxy.deltacloud.protocol import DEFAULT_PROVIDER
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.operations.call import ApiCall


def show(call: ApiCall) -> Response:
    """``GET /api``; with ``force_auth`` it checks the credentials against EC2."""
    if call.request.needs_caller:
        _check_credentials(call)
    return call.respond("entry_point", call.request.provider)


def redirect(call: ApiCall) -> Response:
    """``GET /``: old gems follow a 301 only, and need an absolute address."""
    return Response(status=301, location=call.urls.entry_point)


def select(call: ApiCall) -> Response:
    """``POST /api``: go to a ``driver`` and ``provider``, and to a ``page`` below their URL."""
    given = call.request.parameters
    matrix = {name: given.get(name, "") for name in ("driver", "provider")}
    chosen = {name: value for name, value in matrix.items() if value not in {"", DEFAULT_PROVIDER}}
    page = re.fullmatch("[/?][!-~]*", given.get("page", ""))
    location = call.urls.with_matrix(**chosen).entry_point + (page[0] if page else "")
    return Response(status=301, location=location)


def _check_credentials(call: ApiCall) -> None:
    try:
        call.ec2(reader.zones_response, "DescribeAvailabilityZones")
    except EC2Error as error:
        # A caller who may not list zones has proved who it is.
        is_known = error.code in {"UnauthorizedOperation", "AccessDenied"}
        if not (is_known and error.outcome is Outcome.REFUSED):
            raise
