"""What is known of one request, for its log line and the metrics."""

import logging
import socket
from collections import deque
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

FIELDS = (
    *("request_id", "client", "scheme", "method", "path", "status", "duration", "operation"),
    *("provider", "account", "access_key_id", "ec2_request_ids", "retries"),
    *("error_code", "error", "cause", "traceparent"),
)
"""Fields of the log line of a request, in their order; ``duration`` is in seconds."""

_MAX_EC2_REQUEST_IDS = 20
_MAX_LOGGED_NAME = 64


@dataclass(slots=True)
class RequestLog:
    """One request; empty values are unknown.

    ``path`` is percent-encoded, as the client sent it. ``client`` and ``scheme`` are the
    client's address and scheme, of which trusted proxies may have told. ``connection`` is the
    client's socket, where the server hands it over. ``provider`` is the one that the request named,
    ``default_provider`` that of the ``account`` which has sent it. ``login_failed``: name or
    password of an account were wrong. ``access_key_id`` holds the last four characters.
    ``ec2_request_ids`` are those of the last EC2 responses, ``retries`` counts repeated EC2
    requests. ``cause`` says why the last call of EC2 has failed, where its caller is not to blame.

    ``error`` is the message of an error with status 5xx or of a broken list, ``error_code`` the
    code of EC2. ``is_refused``: EC2, or a limit of its caller, has refused the request. ``fault``
    is the exception behind a status 500. ``create_is_unsettled``: there may be a duplicate of the
    snapshot that the request created.
    """

    request_id: str
    method: str
    path: str
    client: str = ""
    scheme: str = ""
    traceparent: str = ""
    connection: socket.socket | None = None
    provider: str = ""
    account: str = ""
    default_provider: str = ""
    login_failed: bool = False
    operation: str = "none"
    status: int = 0
    access_key_id: str = ""
    ec2_request_ids: deque[str] = field(default_factory=lambda: deque(maxlen=_MAX_EC2_REQUEST_IDS))
    retries: int = 0
    cause: str = ""
    error: str = ""
    error_code: str = ""
    is_refused: bool = False
    fault: BaseException | None = None
    list_is_broken: bool = False
    create_is_unsettled: bool = False

    def record_error(
        self, message: str, code: str, status: int, cause: BaseException | None
    ) -> None:
        """Record an error of the API for the log line; ``cause`` is logged for a status 500."""
        self.error_code = code
        if status >= 500:
            self.error = message
        if status == 500:
            self.fault = cause

    def record_failed_login(self, name: str, address: str) -> None:
        """Record that name or password of an account were wrong; it has a log line of its own."""
        self.login_failed = True
        log.warning(
            "a login failed: name %r, address %r, request %s",
            name[:_MAX_LOGGED_NAME],
            address,
            self.request_id,
            extra={"request_id": self.request_id},
        )

    @property
    def client_has_left(self) -> bool:
        """Whether the client has closed its connection, as far as the server tells."""
        has_left = getattr(self.connection, "client_has_left", None)
        return has_left is not None and has_left()
