"""The entry point: where clients start, and log in."""

from webob import Response

from dcproxy import native
from dcproxy.errors import DeltacloudError
from dcproxy.operations.call import Call, ask, document


def show(call: Call) -> Response:
    """``GET /api``; with ``force_auth`` it checks the caller's credentials against EC2."""
    if call.query.get("force_auth", "").lower() not in {"", "0", "false"}:
        _check_credentials(call)
    return document(call, call.format.documents.entry_point(call.urls, call.provider))


def _check_credentials(call: Call) -> None:
    try:
        ask(call, native.zones, "describe_availability_zones")
    except DeltacloudError as error:
        # Who may not list zones has still proved who they are.
        if error.status != 403:
            raise
