"""Failures of EC2 calls: what is known of the effect, and what was the cause."""

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ProxyConnectionError,
    ReadTimeoutError,
)
from botocore.utils import get_environ_proxies

from dcproxy.ec2.connection import ResponseTooLongError
from dcproxy.ec2.reader import UnreadableError
from dcproxy.ec2.session import AccessKey


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


_CODES = {
    Outcome.THROTTLED: re.compile(
        "BandwidthLimitExceeded|EC2ThrottledException|RequestLimitExceeded|SlowDown"
        "|(Request)?(Throttled|Throttling)(Exception)?|TooManyRequestsException"
    ),
    # Faults of EC2 itself; some clouds, OpenStack too, send them with a status that begins with 4.
    Outcome.UNKNOWN: re.compile(
        "Internal(Error|Failure)|ServerInternal|(Service)?Unavailable|UnknownError"
    ),
    # Refusals that EC2 sends with a status that begins with 5.
    Outcome.REFUSED: re.compile("Insufficient(Instance|Volume)?Capacity"),
}
"""The codes whose status does not tell the outcome (EC2 API reference, "Error codes"; those of
throttling as botocore has them)."""

NOT_FOUND_CODES = re.compile(r".*\.NotFound|Invalid(Snapshot|Volume)I[Dd]\.Malformed")

EXPIRED_CODES = frozenset({"RequestExpired", "InvalidSecurity.RequestHasExpired"})
"""The time of a signature is not EC2's time, or the session token has expired."""

_CLOCK_SKEW_SECONDS = 240
"""Less than the five minutes by which the time of a signature may differ from that of AWS."""

_CODES_OF_WRONG_SIGNATURES = {"AuthFailure", "SignatureDoesNotMatch"}
_CLOCK = re.compile("signature (?:expired|not yet current)", re.IGNORECASE)

_NAMING = re.compile("AvailabilityZone|InstanceId|(Snapshot|Volume)Ids?|ZoneNames")
"""The parameters of requests that name what may not exist."""

_MAX_CAUSE = 200

_FAILURES: tuple[tuple[type[BaseException], str, str], ...] = (
    (socket.gaierror, "dns", "cannot be reached: its name cannot be resolved"),
    (ssl.SSLCertVerificationError, "certificate", "has a TLS certificate that cannot be verified"),
    (ssl.SSLEOFError, "closed", "closed the connection"),
    (ssl.SSLError, "tls", "does not speak TLS at this port, or not as this server does"),
    (ConnectionRefusedError, "refused", "cannot be reached: the connection was refused"),
    (ConnectTimeoutError, "connect timeout", "did not accept the connection in time"),
    (ReadTimeoutError, "read timeout", "did not respond in time"),
    (EndpointConnectionError, "network", "cannot be reached"),
    (ProxyConnectionError, "closed", "closed the connection"),
    (ConnectionClosedError, "closed", "closed the connection"),
    (ResponseTooLongError, "too long", "sent a response that is too long: use a lower page_size"),
    (UnreadableError, "unreadable", "sent a response that cannot be read"),
)
"""What is found in the chain of an error, the first one that is: the kind of the cause, and what
EC2 or the proxy on the way to it did."""


@dataclass(eq=False)
class EC2Error(Exception):
    """A failed call of EC2.

    ``code`` is the EC2 error code, empty where EC2 sent none; ``message`` is EC2's own, or says
    what happened to the request. ``http_status`` is that of the response, 0 without one.
    ``cause`` is empty where the caller is to blame, else ``clock``, or a kind of fault of the
    network, a proxy or EC2 with its details. ``limit`` is ``key`` or ``worker`` when no slot became
    free. ``earlier_response_lost``: an earlier attempt of the same call may have had an effect.
    """

    message: str
    outcome: Outcome
    _: KW_ONLY
    code: str = ""
    http_status: int = 0
    cause: str = ""
    limit: str = ""
    earlier_response_lost: bool = False

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message

    @property
    def may_have_effect(self) -> bool:
        """Whether EC2 may have carried out this attempt, or an earlier one of the same call."""
        return self.outcome is Outcome.UNKNOWN or self.earlier_response_lost

    @property
    def is_refusal(self) -> bool:
        """Whether EC2, or the limit of its caller, has refused it: nothing is out of order."""
        is_refused = self.outcome is Outcome.REFUSED and not self.cause
        return is_refused or self.outcome is Outcome.THROTTLED or self.limit == "key"

    @property
    def may_be_repeated(self) -> bool:
        """Whether the same request may succeed soon, apart from effects of this one."""
        return self.outcome is not Outcome.REFUSED and not self.limit


def parsed_error(response: Mapping[str, Any]) -> tuple[str, str, int]:
    """Return code, message and HTTP status of an error response that botocore has parsed.

    Whatever EC2 sent: what is absent or no text is empty, and a missing status is 0. The prefixes
    ``Client.`` and ``Server.``, which some clouds add, are removed.
    """
    error = response.get("Error")
    found = (error.get("Code"), error.get("Message")) if isinstance(error, dict) else ()
    code, message = (text if isinstance(text, str) else "" for text in found or ("", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code.removeprefix("Client.").removeprefix("Server."), message, status


def outcome_of_response(code: str, http_status: int, *, names_id: bool = True) -> Outcome:
    """Classify an error response of EC2.

    A status without an error code decides nothing, 429 excepted: it may come from a proxy.
    ``names_id``: the request names what may not exist. Without, something vanished meanwhile.
    """
    if http_status == 429:
        return Outcome.THROTTLED
    if not names_id and NOT_FOUND_CODES.fullmatch(code):
        return Outcome.UNKNOWN
    for outcome, codes in _CODES.items():
        if codes.fullmatch(code):
            return outcome
    return Outcome.REFUSED if code and 400 <= http_status < 500 else Outcome.UNKNOWN


def refusal(
    error: ClientError, region: str, key: AccessKey, unix_time: float, params: Mapping[str, Any]
) -> EC2Error:
    """Translate an error response of EC2 to a request with ``params`` at ``unix_time``."""
    code, message, status = parsed_error(error.response)
    if not code:
        message = f"EC2 in {region} responded with status {status} and no error code."
    if code in _CODES_OF_WRONG_SIGNATURES:
        # Further lines quote the request, with its session token.
        message = message.partition("\n")[0]
    message = message or "EC2 sent no message."
    skew = clock_skew(error.response, unix_time)
    is_off = abs(skew or 0) > _CLOCK_SKEW_SECONDS
    is_clock = bool(_CLOCK.search(message)) or (is_off and code in _CODES_OF_WRONG_SIGNATURES)
    if code in EXPIRED_CODES:
        # RequestExpired has two meanings.
        is_clock = is_off or not key.session_token or code != "RequestExpired"
        if not is_clock:
            code = "ExpiredToken"
            or_clock = ", or the clock of this server is wrong" if skew is None else ""
            message = f"{message} The session token has expired{or_clock}."
    outcome = outcome_of_response(code, status, names_id=any(map(_NAMING.fullmatch, params)))
    cause = "" if code else f"status {status}"
    if is_clock:
        outcome, cause = Outcome.REFUSED, f"clock: {skew:+.0f} s" if is_off else "clock"
        message = f"{message} The clock of this server is wrong."
    return EC2Error(message, outcome, code=code, http_status=status, cause=cause)


def clock_skew(response: Mapping[str, Any], unix_time: float) -> float | None:
    """Return by how many seconds the clock of this server is fast, as far as a response tells."""
    try:
        date = response["ResponseMetadata"]["HTTPHeaders"]["date"]
        return unix_time - parsedate_to_datetime(date).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def failure(error: Exception, region: str, url: str, *, is_sent: bool) -> EC2Error:
    """Translate whatever else went wrong with a request to ``url``."""
    chain = list(_chain(error))
    who, root = f"EC2 in {region}", str(chain[-1])
    kind, what = "other", "could not be called"
    if is_sent:
        # botocore raises errors of many types for error documents that it cannot parse.
        chain.append(UnreadableError())
    for type, *found in _FAILURES:
        if any(isinstance(each, type) for each in chain):
            kind, what = found
            break
    else:
        root = chain[-1].__class__.__name__  # its text may quote the password of a proxy
    if isinstance(error, ProxyConnectionError) and not is_sent:
        kind, who = f"proxy {kind}", f"The proxy on the way to {who}"
        if "Tunnel connection failed" in root:
            kind, what = "proxy", f"refused the connection ({root})"
    elif isinstance(error, UnreadableError):
        what = f"{what}: {error}"
    elif not is_sent and isinstance(error, ConnectTimeoutError):
        what += _hint(url)
    outcome = Outcome.UNKNOWN if is_sent else Outcome.NOT_SENT
    return EC2Error(f"{who} {what}.", outcome, cause=f"{kind}: {root}"[:_MAX_CAUSE])


def expired(region: str, url: str, *, is_sent: bool) -> EC2Error:
    """Build the error for a request that has not ended before its deadline."""
    if is_sent:
        message = f"EC2 in {region} did not respond before the deadline of the request."
        return EC2Error(message, Outcome.UNKNOWN, cause="deadline: no complete response")
    message = f"EC2 in {region} was not reached before the deadline of the request{_hint(url)}."
    return EC2Error(message, Outcome.NOT_SENT, cause="deadline: no connection")


def _hint(url: str) -> str:
    """Name what is perhaps missing where no connection is made in time."""
    name = "HTTPS_PROXY" if url.startswith("https") else "HTTP_PROXY"
    return "" if get_environ_proxies(url) else f" ({name} is not set, if a proxy is needed)"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, down to the one that came first."""
    while error is not None and not isinstance(error, EC2Error):
        yield error
        error = error.__cause__ or error.__context__
