"""The forms of HTML pages: their choices, and their errors."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from webob import Response

from dcproxy.deltacloud.errors import ApiError
from dcproxy.deltacloud.models import ErrorDocument
from dcproxy.ec2.errors import EC2Error
from dcproxy.ec2.records import Page
from dcproxy.operations.call import ApiCall
from dcproxy.operations.translation import api_error

Record = TypeVar("Record")

_CHOICES_SECONDS = 2.0


def check_is_page(call: ApiCall) -> None:
    """Raise a 406 ``ApiError`` for a form that is requested as anything but a page."""
    if not call.request.format.is_page:
        raise ApiError(406, "This form is available as text/html only.")


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


def create_or_form(
    call: ApiCall,
    create: Callable[[ApiCall], Response],
    form: Callable[[ApiCall, ErrorDocument], str],
) -> Response:
    """Run ``create``. When it fails, a page has ``form`` again, with what the person filled in.

    Raises ``ApiError``.
    """
    try:
        return create(call)
    except (ApiError, EC2Error) as error:
        failure = api_error(error)
        if call.request.format.is_page:
            failure.write = partial(form, call)
        raise failure from failure.__cause__
