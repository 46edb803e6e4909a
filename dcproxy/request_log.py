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


@dataclass(slots=True)
class RequestLog:
    """One request; empty values are unknown.

    ``path`` is percent-encoded. ``client`` and ``scheme`` are the client's address and scheme, of
    which trusted proxies may have told; ``connection`` is its socket, where the server hands it
    over. ``provider`` is the one that the request named, ``default_provider`` that of its
    ``account``. ``access_key_id`` holds the last four characters, ``ec2_request_ids`` those of the
    last EC2 responses. ``retries`` counts repeated EC2 requests. ``cause`` says why the last call
    of EC2 has failed, where its caller is not to blame.

    ``error`` is the message of an error with status 5xx or of a broken list, ``error_code`` the
    code of EC2. ``is_refused``: EC2, or a limit of its caller, has refused the request. ``fault``
    is the exception behind a status 500. ``create_is_unsettled``: there may be a duplicate.
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
    ec2_request_ids: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    retries: int = 0
    cause: str = ""
    error: str = ""
    error_code: str = ""
    is_refused: bool = False
    fault: BaseException | None = None
    list_is_broken: bool = False
    create_is_unsettled: bool = False

    def record_error(self, text: str, code: str, status: int, cause: BaseException | None) -> None:
        """Record an error of the API for the log line; ``cause`` is logged for a status 500."""
        self.error_code = code
        self.error = text if status >= 500 else ""
        self.fault = cause if status == 500 else None

    def record_failed_login(self, name: str) -> None:
        """Record that name or password of an account were wrong; it has a log line of its own."""
        self.login_failed = True
        text, values = "a login failed: name %r, address %r, request %s", (name[:64], self.client)
        log.warning(text, *values, self.request_id, extra={"request_id": self.request_id})

    @property
    def client_has_left(self) -> bool:
        """Whether the client has closed its connection, as far as the server tells."""
        has_left = getattr(self.connection, "client_has_left", None)
        return has_left is not None and has_left()
