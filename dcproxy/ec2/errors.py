"""Failures of EC2 calls, and what is known of their effect."""

import re
from enum import Enum

_THROTTLING_CODES = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)

_UNCERTAIN_CODES = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "ServerInternal",
        "ServiceUnavailable",
        "Unavailable",
        "UnknownError",  # of OpenStack
    }
)
"""Faults of EC2 itself; some clouds send them with a status that begins with 4."""

_CERTAIN_CODES = re.compile("Insufficient.*Capacity")
"""Refusals that EC2 sends with a status that begins with 5."""

EXPIRED_CODES = frozenset({"RequestExpired", "InvalidSecurity.RequestHasExpired"})
"""The time of a signature is not EC2's time, or the session token has expired: EC2 has one code for
both."""

NOT_FOUND_CODES = re.compile(r".*\.NotFound|Invalid(Snapshot|Volume)I[Dd]\.Malformed")


class Outcome(Enum):
    """What is known of the effect of a failed call."""

    REFUSED = "refused"
    """EC2 has changed nothing, and a repeated request is refused too."""
    THROTTLED = "throttled"
    """EC2 has changed nothing, and accepts the request later."""
    NOT_SENT = "not sent"
    """Nothing of the request has reached EC2."""
    UNKNOWN = "unknown"
    """EC2 may or may not have carried out the request."""


class EC2Error(Exception):
    """A failed call of EC2.

    ``code`` is the EC2 error code, empty where EC2 sent none; ``message`` is EC2's own, or says
    what happened to the request. ``http_status`` is that of the response, 0 without one.
    ``cause`` is for the log where the caller is not to blame: ``clock``, or a kind of fault of the
    network, a proxy or EC2 with its details. ``limit`` is ``key`` or ``worker`` when no slot became
    free. ``earlier_response_lost``: an earlier attempt of the same call may have had an effect.
    """

    def __init__(
        self,
        message: str,
        outcome: Outcome,
        *,
        code: str = "",
        http_status: int = 0,
        cause: str = "",
        limit: str = "",
        earlier_response_lost: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.outcome = outcome
        self.code = code
        self.http_status = http_status
        self.cause = cause
        self.limit = limit
        self.earlier_response_lost = earlier_response_lost

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message

    @property
    def may_have_effect(self) -> bool:
        """Whether EC2 may have carried out this attempt, or an earlier one of the same call."""
        return self.outcome is Outcome.UNKNOWN or self.earlier_response_lost

    @property
    def may_be_repeated(self) -> bool:
        """Whether the same request may succeed soon, apart from effects of this one."""
        return self.outcome is not Outcome.REFUSED and not self.limit


def outcome_of_response(code: str, http_status: int, *, names_id: bool = True) -> Outcome:
    """Classify an error response of EC2 (EC2 API reference, "Error codes").

    A status without an error code decides nothing, 429 excepted: it may come from a proxy.
    ``names_id``: the request names what may not exist. Without, something vanished meanwhile.
    """
    if code in _THROTTLING_CODES or http_status == 429:
        return Outcome.THROTTLED
    if not names_id and NOT_FOUND_CODES.fullmatch(code):
        return Outcome.UNKNOWN
    is_certain = bool(code) and 400 <= http_status < 500 and code not in _UNCERTAIN_CODES
    return Outcome.REFUSED if is_certain or _CERTAIN_CODES.fullmatch(code) else Outcome.UNKNOWN
