"""A call of the API: the request, who sends it, and how its operation calls EC2."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from dcproxy.auth.caller import Caller, Callers
from dcproxy.auth.keys import read_credentials
from dcproxy.auth.passwords import LoginFailedError
from dcproxy.deltacloud.negotiation import Renderer
from dcproxy.deltacloud.request import ApiRequest
from dcproxy.deltacloud.urls import Urls
from dcproxy.ec2.client import EC2Client
from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.operations.capacity import Place
from dcproxy.operations.translation import api_error
from dcproxy.request_log import RequestLog
from dcproxy.runtime import Runtime
from dcproxy.settings import Settings

log = logging.getLogger(__name__)

_MAX_LOGGED_NAME = 64

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ApiCall:
    """A call of the API, which an operation answers.

    ``urls`` are the hrefs of its request. ``deadline`` is the time of ``Runtime.monotonic`` until
    which EC2 may be called. Without a ``place``, its calls count for no ``Capacity``.
    """

    request: ApiRequest
    urls: Urls
    callers: Callers
    client: EC2Client
    settings: Settings
    log: RequestLog
    runtime: Runtime
    deadline: float
    place: Place | None = None

    @property
    def caller(self) -> Caller:
        """Who has sent the request. Raises a 401 ``ApiError`` when that is nobody known."""
        request, log = self.request, self.log
        credentials = request.credentials or read_credentials(request.http)
        address = request.http.remote_addr or ""
        try:
            caller = self.callers.identify(credentials, address, self.seconds_left)
        except LoginFailedError:
            _record_failed_login(log, credentials.user, address)
            raise
        if caller.is_account:
            log.account = caller.name
            log.default_provider = caller.region
        return caller

    @property
    def region(self) -> str:
        """The region of EC2 that the request is for."""
        return self.request.provider or self.caller.region

    @property
    def seconds_left(self) -> float:
        """The time until the deadline."""
        return self.deadline - self.runtime.monotonic()

    def with_new_deadline(self) -> "ApiCall":
        """Return the call for a further page of a streamed list: each has its own time limit."""
        return replace(self, deadline=self.runtime.monotonic() + self.settings.deadline)

    @property
    def renderer(self) -> Renderer:
        """The renderer of the response."""
        return self.request.format.renderer

    def ec2(
        self,
        parse: Callable[[bytes], Result],
        action: str,
        *,
        is_repeatable: bool = True,
        **params: Any,
    ) -> Result:
        """Call EC2 with the access key of the caller, before the deadline.

        ``action`` and ``params`` are named as in the EC2 API reference; ``parse`` reads the native
        response. Raises ``EC2Error``, and ``ApiError`` when the request has no credentials.
        """
        caller = self.caller
        try:
            with self.place.at_work(self.seconds_left) if self.place else nullcontext():
                access_key = caller.access_key(self.seconds_left)
                self.log.access_key_id = access_key.id[-4:]
                return self.client.call(
                    self.region,
                    access_key,
                    self.log,
                    self.deadline,
                    parse,
                    action,
                    is_repeatable=is_repeatable,
                    **params,
                )
        except EC2Error as error:
            if caller.is_account and api_error(error).status == 401:
                # The password is right: the client cannot mend this.
                message = (
                    f"EC2 does not accept the credentials of the account {caller.name}: {error}"
                )
                lost = error.earlier_response_lost
                raise EC2Error(message, Outcome.REFUSED, earlier_response_lost=lost) from error
            raise


def _record_failed_login(request_log: RequestLog, name: str, address: str) -> None:
    request_log.login_failed = True
    log.warning(
        "a login failed: name %r, address %r, request %s",
        name[:_MAX_LOGGED_NAME],
        address,
        request_log.request_id,
        extra={"request_id": request_log.request_id},
    )
