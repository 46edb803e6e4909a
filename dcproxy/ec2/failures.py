"""What botocore raises, as an ``EC2Error``: what is known of the effect, and what was the cause."""

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
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
from dcproxy.ec2.errors import EXPIRED_CODES, EC2Error, Outcome, outcome_of_response
from dcproxy.ec2.reader import UnreadableError
from dcproxy.ec2.session import AccessKey, parsed_error

_CLOCK_SKEW_SECONDS = 240
"""Less than the five minutes by which the time of a signature may differ from that of AWS."""

_CODES_OF_WRONG_SIGNATURES = {"AuthFailure", "SignatureDoesNotMatch"}
_CLOCK = re.compile("signature (?:expired|not yet current)", re.IGNORECASE)

_NAMING = {
    "AvailabilityZone",
    "InstanceId",
    "SnapshotId",
    "SnapshotIds",
    "VolumeId",
    "VolumeIds",
    "ZoneNames",
}
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


def refusal(
    error: ClientError,
    region: str,
    access_key: AccessKey,
    unix_time: float,
    params: Mapping[str, Any],
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
        is_clock = is_off or not access_key.session_token
        if not is_clock:
            code = "ExpiredToken"
            or_clock = ", or the clock of this server is wrong" if skew is None else ""
            message = f"{message} The session token has expired{or_clock}."
    outcome = outcome_of_response(code, status, names_id=not _NAMING.isdisjoint(params))
    cause = "" if code else f"status {status}"
    if is_clock:
        outcome, cause = Outcome.REFUSED, "clock"
        message = f"{message} The clock of this server is wrong."
        if is_off:
            cause = f"clock: {skew:+.0f} s"
    return EC2Error(message, outcome, code=code, http_status=status, cause=cause)


def clock_skew(response: Mapping[str, Any], unix_time: float) -> float | None:
    """Return by how many seconds the clock of this server is fast, as far as a response tells."""
    metadata = response.get("ResponseMetadata")
    headers = metadata.get("HTTPHeaders", {}) if isinstance(metadata, dict) else {}
    try:
        return unix_time - parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def failure(error: Exception, region: str, url: str, *, is_sent: bool) -> EC2Error:
    """Translate whatever else went wrong with a request to ``url``."""
    chain = list(_chain(error))
    who = f"EC2 in {region}"
    kind, what = next(
        (
            (kind, what)
            for type, kind, what in _FAILURES
            for each in chain
            if isinstance(each, type)
        ),
        # botocore raises errors of many types for error documents that it cannot parse.
        ("unreadable", "sent a response that cannot be read")
        if is_sent
        else ("other", "could not be called"),
    )
    root = str(chain[-1])
    if isinstance(error, ProxyConnectionError) and not is_sent:
        kind, who = f"proxy {kind}", f"The proxy on the way to {who}"
        if "Tunnel connection failed" in root:
            kind, what = "proxy", f"refused the connection ({root})"
    elif isinstance(error, UnreadableError):
        what = f"{what}: {error}"
    elif not is_sent and isinstance(error, ConnectTimeoutError):
        what += hint(url)
    outcome = Outcome.UNKNOWN if is_sent else Outcome.NOT_SENT
    return EC2Error(f"{who} {what}.", outcome, cause=f"{kind}: {root}"[:_MAX_CAUSE])


def expired(region: str, url: str, *, is_sent: bool) -> EC2Error:
    """Build the error for a request that has not ended before its deadline."""
    if is_sent:
        message = f"EC2 in {region} did not respond before the deadline of the request."
        return EC2Error(message, Outcome.UNKNOWN, cause="deadline: no complete response")
    message = f"EC2 in {region} was not reached before the deadline of the request{hint(url)}."
    return EC2Error(message, Outcome.NOT_SENT, cause="deadline: no connection")


def hint(url: str) -> str:
    """Name what is perhaps missing where no connection is made in time."""
    name = "HTTPS_PROXY" if url.startswith("https") else "HTTP_PROXY"
    return "" if get_environ_proxies(url) else f" ({name} is not set, if a proxy is needed)"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, down to the one that came first."""
    while error is not None and not isinstance(error, EC2Error):
        yield error
        error = error.__cause__ or error.__context__
