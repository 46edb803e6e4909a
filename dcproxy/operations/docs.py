"""The documentation of the API, which ``deltacloudc -l`` lists, and the methods of a path."""

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.protocol import COLLECTIONS
from dcproxy.deltacloud.routes import allowed_methods
from dcproxy.operations.call import ApiCall


def index(call: ApiCall) -> Response:
    """``GET /api/docs``."""
    return call.respond("docs", COLLECTIONS.values())


def show(call: ApiCall) -> Response:
    """``GET /api/docs/:collection``."""
    name = call.request.id
    if name not in COLLECTIONS:
        raise ApiError(404, f"There is no collection {name!r}: there are {', '.join(COLLECTIONS)}.")
    return call.respond("doc", COLLECTIONS[name])


def methods(call: ApiCall) -> Response:
    """``OPTIONS`` of any path."""
    allowed = ", ".join(allowed_methods(call.request.path))
    return Response(headerlist=[("Allow", allowed), ("Content-Length", "0")])
