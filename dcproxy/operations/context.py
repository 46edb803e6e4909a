"""What an operation works with, and how it calls EC2."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from dcproxy.context import RequestContext, Runtime
from dcproxy.deltacloud.credentials import parse_credentials
from dcproxy.deltacloud.renderers.negotiation import Renderer
from dcproxy.deltacloud.request import ApiRequest
from dcproxy.deltacloud.urls import Urls
from dcproxy.ec2.client import EC2Client
from dcproxy.ec2.session import AccessKey
from dcproxy.settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class OperationContext:
    """One operation.

    ``urls`` are the hrefs of its request. ``deadline`` is the time of ``Runtime.monotonic`` until
    which EC2 may be called.
    """

    request: ApiRequest
    urls: Urls
    ec2: EC2Client
    settings: Settings
    request_context: RequestContext
    runtime: Runtime
    deadline: float

    @property
    def region(self) -> str:
        """The region of EC2 that the request is for."""
        return self.request.provider or self.settings.provider

    def with_new_deadline(self) -> "OperationContext":
        """Return the context of a further page of a streamed list: each has its own time limit."""
        return replace(self, deadline=self.runtime.monotonic() + self.settings.deadline)

    @property
    def renderer(self) -> Renderer:
        """The renderer of the response."""
        return self.request.format.renderer


def require_credentials(context: OperationContext) -> AccessKey:
    """Return the access key of the caller. Raises a 401 ``ApiError`` when there is none."""
    credentials = context.request.credentials or parse_credentials(
        context.request.http.headers.get("Authorization")
    )
    context.request_context.access_key_id = credentials.user[-4:]
    return AccessKey(credentials.user, credentials.password)


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
    return context.ec2.call(
        context.region,
        require_credentials(context),
        context.request_context,
        context.deadline,
        parse,
        action,
        is_repeatable=is_repeatable,
        **params,
    )
