"""A call of the API: the request, who sends it, and how its operation calls EC2."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from webob import Response

from dcproxy.auth.caller import Caller
from dcproxy.deltacloud.request import ApiRequest
from dcproxy.deltacloud.responses import document_response
from dcproxy.deltacloud.urls import Urls
from dcproxy.ec2.client import EC2Client
from dcproxy.ec2.errors import EC2Error
from dcproxy.operations.translation import api_error
from dcproxy.request_log import RequestLog
from dcproxy.runtime import Runtime
from dcproxy.settings import Settings

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A call of the API, which an operation answers.

    ``region`` is that of EC2. ``deadline`` is the time of ``Runtime.monotonic`` until which EC2 may
    be called.
    """

    request: ApiRequest
    caller: Caller
    region: str
    client: EC2Client
    settings: Settings
    log: RequestLog
    runtime: Runtime
    deadline: float

    @property
    def urls(self) -> Urls:
        """The hrefs of the response."""
        return self.request.urls

    @property
    def seconds_left(self) -> float:
        """The time until the deadline."""
        return self.deadline - self.runtime.monotonic()

    def with_new_deadline(self) -> "ApiCall":
        """Return the call for a further page of a streamed list: each has its own time limit."""
        return replace(self, deadline=self.runtime.monotonic() + self.settings.deadline)

    def respond(self, document: str, value: object, status: int = 200) -> Response:
        """Send a document of ``Renderer``."""
        format = self.request.format
        text = format.renderer.document(document, value, self.urls)
        return document_response(format, text, status)

    def ec2(self, parse: Callable[[bytes], Result], action: str, **params: Any) -> Result:
        """Call EC2 with the access key of the caller, before the deadline.

        ``action`` and ``params`` are named as in the EC2 API reference, beside the options of
        ``EC2Client.call``; ``parse`` reads the native response. Raises ``EC2Error``, and a 401
        ``ApiError`` without a caller.
        """
        caller = self.caller
        self.log.cause = ""  # that of an earlier call
        try:
            access_key = caller.access_key(self.seconds_left)
            self.log.access_key_id = access_key.id[-4:]
            return self.client.call(
                self.region, access_key, self.log, self.deadline, parse, action, **params
            )
        except EC2Error as error:
            self.log.cause = error.cause  # of what ``access_key`` raises too
            if not (caller.is_account and api_error(error).status == 401):
                raise
            # The password is right: the operator can mend this, not the client.
            text = f"EC2 does not accept the credentials of the account {caller.name}: {error}"
            error.message, error.cause, error.code = text, f"credentials: {error.code}", ""
            self.log.cause = error.cause
            raise
