"""What an operation works with, and how it calls EC2."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dcproxy.context import RequestContext
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
    """One operation. ``urls`` are the hrefs of its request, ``sleep`` waits for some seconds."""

    request: ApiRequest
    urls: Urls
    ec2: EC2Client
    settings: Settings
    request_context: RequestContext
    sleep: Callable[[float], None]

    @property
    def region(self) -> str:
        """The region of EC2 that the request is for."""
        return self.request.provider or self.settings.provider

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
    context: OperationContext, parse: Callable[[bytes], Result], action: str, **params: object
) -> Result:
    """Call EC2 with the access key of the caller.

    ``action`` and ``params`` are named as in the EC2 API reference; ``parse`` reads the native
    response. Raises ``EC2Error``, and ``ApiError`` when the request has no credentials.
    """
    access_key = require_credentials(context)
    return context.ec2.call(
        context.region, access_key, context.request_context, parse, action, **params
    )
