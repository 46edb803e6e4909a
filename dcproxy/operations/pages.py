"""What HTML pages need in addition to documents: choices and errors of a form, and a reload."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import ErrorDocument
from dcproxy.deltacloud.responses import error_response
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.records import Page
from dcproxy.operations.context import OperationContext, call_ec2
from dcproxy.operations.translation import api_error

Record = TypeVar("Record")

_CHOICES_SECONDS = 2.0
_RELOAD_SECONDS = 5


def check_is_page(context: OperationContext) -> None:
    """Raise a 406 ``ApiError`` for a form that is requested as anything but a page."""
    if not context.request.format.is_page:
        raise ApiError(406, "This form is available as text/html only.")


def choices(
    context: OperationContext, parse: Callable[[bytes], Page[Record]], action: str, **params: Any
) -> Sequence[Record]:
    """List what a form offers, at most one page; nothing when EC2 does not list it at once.

    A form works without its choices, so that whatever goes wrong is no error.
    """
    deadline = min(context.runtime.monotonic() + _CHOICES_SECONDS, context.deadline)
    try:
        page = call_ec2(
            replace(context, deadline=deadline), parse, action, is_repeatable=False, **params
        )
    except (ApiError, EC2Error):
        return ()
    return page.records


def reload(context: OperationContext, response: Response, href: str) -> None:
    """Let a browser load the page at ``href`` in some seconds, unless ``?reload=off`` forbids it.

    The header does what ``<meta http-equiv="refresh">`` does. Other formats have no reload.
    """
    if context.request.format.is_page and context.request.query.get("reload") != "off":
        response.headers["Refresh"] = f"{_RELOAD_SECONDS}; url={href}"


def create_or_form(
    context: OperationContext,
    create: Callable[[OperationContext], Response],
    form: Callable[[OperationContext, ErrorDocument], str],
) -> Response:
    """Run ``create``. When it fails, a page gets ``form`` again, with what the person filled in.

    For other formats, raises what ``create`` raises.
    """
    try:
        return create(context)
    except (ApiError, EC2Error) as error:
        request = context.request
        if not request.format.is_page:
            raise
        render = partial(form, context)
        return error_response(request, api_error(error), context.request_context, render)
