"""The forms of HTML pages: their choices, and their errors."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial, wraps
from typing import Any, TypeVar

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import ErrorDocument
from dcproxy.deltacloud.responses import document_response
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.records import Page
from dcproxy.operations.call import ApiCall
from dcproxy.operations.translation import api_error

Form = Callable[[ApiCall, ErrorDocument | None], str]
"""Writes a form with the parameters of the request, and with what was wrong with them."""

Operation = Callable[[ApiCall], Response]
Record = TypeVar("Record")

_CHOICES_SECONDS = 2.0


def new(call: ApiCall, form: Form) -> Response:
    """Send a form. Raises a 406 ``ApiError`` when it is requested as anything but a page."""
    if not call.request.format.is_page:
        raise ApiError(406, "This form is available as text/html only.")
    return document_response(call.request.format, form(call, None))


def shown_again(form: Form) -> Callable[[Operation], Operation]:
    """Decorate an operation: when it fails, a page has ``form`` again. It raises ``ApiError``."""

    def decorate(operation: Operation) -> Operation:
        @wraps(operation)
        def operation_or_form(call: ApiCall) -> Response:
            try:
                return operation(call)
            except (ApiError, EC2Error) as error:
                failure = api_error(error)
                if call.request.format.is_page:
                    failure.write = partial(form, call)
                raise failure from failure.__cause__

        return operation_or_form

    return decorate


def choices(
    call: ApiCall, parse: Callable[[bytes], Page[Record]], action: str, **params: Any
) -> Sequence[Record]:
    """List what a form offers, at most one page; nothing when EC2 does not list it at once.

    A form works without its choices, so that whatever goes wrong is no error.
    """
    deadline = min(call.runtime.monotonic() + _CHOICES_SECONDS, call.deadline)
    try:
        page = replace(call, deadline=deadline).ec2(parse, action, is_repeatable=False, **params)
    except (ApiError, EC2Error):
        return ()
    return page.records
