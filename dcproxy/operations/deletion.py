"""Deletes of a member, by DELETE and by the POST of an HTML form."""

from collections.abc import Callable
from functools import partial
from typing import Any

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.routes import allowed_methods
from dcproxy.ec2 import reader
from dcproxy.ec2.errors import EC2Error
from dcproxy.operations.call import ApiCall
from dcproxy.operations.translation import is_not_found


def delete(call: ApiCall, action: str, **params: Any) -> Response:
    """Delete a member with DeleteSnapshot or DeleteVolume, and return 204. Raises ``EC2Error``."""
    try:
        call.ec2(partial(reader.deleted, action=action), action, **params)
    except EC2Error as error:
        # An earlier attempt, whose response was lost, has deleted it.
        if not (error.earlier_response_lost and is_not_found(error)):
            raise
    return Response(status=204)


def delete_by_post(
    call: ApiCall, collection: str, destroy: Callable[[ApiCall], Response]
) -> Response:
    """Run ``destroy`` for a POST with ``_method=delete``; a page is followed by the collection.

    Raises a 405 ``ApiError`` for any other POST, and what ``destroy`` raises.
    """
    request = call.request
    if request.parameters.get("_method", "").lower() != "delete":
        raise ApiError(
            405,
            "POST is allowed here only with the parameter _method=delete.",
            headers={"Allow": ", ".join(allowed_methods(request.path))},
        )
    response = destroy(call)
    return see_other(call.urls.collection(collection)) if request.format.is_page else response


def see_other(href: str) -> Response:
    """Send a browser that has sent a form to another page."""
    return Response(status=303, headerlist=[("Location", href)])
