"""Failures of EC2 calls, and what is known of their effect."""

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

EXPIRED_CODES = frozenset({"RequestExpired", "InvalidSecurity.RequestHasExpired"})
"""The time of a signature is not EC2's time, or the session token has expired: EC2 has one code for
both."""


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
    ``earlier_response_lost``: an earlier attempt of the same call may have had an effect.
    """

    def __init__(
        self,
        message: str,
        outcome: Outcome,
        *,
        code: str = "",
        http_status: int = 0,
        earlier_response_lost: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.outcome = outcome
        self.code = code
        self.http_status = http_status
        self.earlier_response_lost = earlier_response_lost

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message


def outcome_of_response(code: str, http_status: int) -> Outcome:
    """Classify an error response of EC2 (EC2 API reference, "Error codes").

    A status without an error code decides nothing, 429 excepted: it may come from a proxy.
    """
    if code in _THROTTLING_CODES or http_status == 429:
        return Outcome.THROTTLED
    return Outcome.REFUSED if code and 400 <= http_status < 500 else Outcome.UNKNOWN
