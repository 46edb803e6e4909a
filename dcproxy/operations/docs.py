"""The documentation of the API, which ``deltacloudc -l`` lists."""

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.protocol import COLLECTIONS
from dcproxy.deltacloud.responses import document_response
from dcproxy.operations.context import OperationContext


def index(context: OperationContext) -> Response:
    """``GET /api/docs``."""
    return document_response(context.request.format, context.renderer.docs(context.urls))


def show(context: OperationContext) -> Response:
    """``GET /api/docs/:collection``."""
    name = context.request.id
    if name not in COLLECTIONS:
        raise ApiError(404, f"There is no collection {name!r}: there are {', '.join(COLLECTIONS)}.")
    document = context.renderer.collection_docs(name, context.urls)
    return document_response(context.request.format, document)
