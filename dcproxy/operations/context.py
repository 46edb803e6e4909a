"""What an operation works with, and how it calls EC2."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from dcproxy.context import RequestContext, Runtime
from dcproxy.deltacloud.renderers.negotiation import Renderer
from dcproxy.deltacloud.request import ApiRequest, read_credentials
from dcproxy.deltacloud.urls import Urls
from dcproxy.ec2.client import EC2Client
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.session import AccessKey
from dcproxy.operations.callers import Caller, Callers
from dcproxy.operations.capacity import Place
from dcproxy.operations.translation import api_error
from dcproxy.settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class OperationContext:
    """One operation.

    ``urls`` are the hrefs of its request. ``deadline`` is the time of ``Runtime.monotonic`` until
    which EC2 may be called. Without a ``place``, its calls count for no ``Capacity``.
    """

    request: ApiRequest
    urls: Urls
    callers: Callers
    ec2: EC2Client
    settings: Settings
    request_context: RequestContext
    runtime: Runtime
    deadline: float
    place: Place | None = None

    @property
    def region(self) -> str:
        """The region of EC2 that the request is for."""
        return self.request.provider or require_caller(self).region

    @property
    def seconds_left(self) -> float:
        """The time until the deadline."""
        return self.deadline - self.runtime.monotonic()

    def with_new_deadline(self) -> "OperationContext":
        """Return the context of a further page of a streamed list: each has its own time limit."""
        return replace(self, deadline=self.runtime.monotonic() + self.settings.deadline)

    @property
    def renderer(self) -> Renderer:
        """The renderer of the response."""
        return self.request.format.renderer


def require_caller(context: OperationContext) -> Caller:
    """Return who has sent the request. Raises a 401 ``ApiError`` when that is nobody known."""
    request, request_context = context.request, context.request_context
    credentials = request.credentials or read_credentials(request.http)
    caller = context.callers.identify(
        credentials, request.http, request_context, context.seconds_left
    )
    if caller.is_account:
        request_context.account = caller.name
        request_context.default_provider = caller.region
    return caller


def _access_key(context: OperationContext, caller: Caller) -> AccessKey:
    access_key = caller.access_key(context.seconds_left)
    context.request_context.access_key_id = access_key.id[-4:]
    return access_key


def call_ec2(
    context: OperationContext,
    parse: Callable[[bytes], Result],
    action: str,
    *,
    is_repeatable: bool = True,
    **params: Any,
) -> Result:
    """Call EC2 with the access key of the caller, before the deadline of the operation.

    ``action`` and ``params`` are named as in the EC2 API reference; ``parse`` reads the native
    response. Raises ``EC2Error``, and ``ApiError`` when the request has no credentials.
    """
    caller = require_caller(context)
    place = context.place
    try:
        with place.at_work(context.seconds_left) if place else nullcontext():
            return context.ec2.call(
                context.region,
                _access_key(context, caller),
                context.request_context,
                context.deadline,
                parse,
                action,
                is_repeatable=is_repeatable,
                **params,
            )
    except EC2Error as error:
        if caller.is_account and api_error(error).status == 401:
            # The password is right: the client cannot mend this.
            message = f"EC2 does not accept the credentials of the account {caller.name}: {error}"
            lost = error.earlier_response_lost
            raise EC2Error(message, Outcome.REFUSED, earlier_response_lost=lost) from error
        raise
