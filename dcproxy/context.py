"""The facts of one request that its response, its log line and the metrics share."""

import socket
from collections import deque
from dataclasses import dataclass, field

_MAX_EC2_REQUEST_IDS = 20


@dataclass(slots=True)
class RequestContext:
    """One request; empty values are unknown.

    ``path`` is percent-encoded, as the client sent it. ``connection`` is the client's socket,
    where the server hands it over. ``provider`` is the one that the request named.
    ``access_key_id`` holds the last four characters. ``ec2_request_ids`` are those of the last
    EC2 responses, ``retries`` counts repeated EC2 requests.

    ``error`` is the message of an error with status 5xx or of a broken list, ``error_code`` the
    code of EC2. ``fault`` is the exception behind a status 500.
    """

    request_id: str
    method: str
    path: str
    traceparent: str = ""
    connection: socket.socket | None = None
    provider: str = ""
    operation: str = "none"
    status: int = 0
    access_key_id: str = ""
    ec2_request_ids: deque[str] = field(default_factory=lambda: deque(maxlen=_MAX_EC2_REQUEST_IDS))
    retries: int = 0
    error: str = ""
    error_code: str = ""
    fault: BaseException | None = None
    list_is_broken: bool = False
