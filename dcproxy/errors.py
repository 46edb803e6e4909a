"""Errors as data: the one exception type, and the table from EC2 error codes to statuses.

Deltacloud's Ruby client raises on 400-409, 500, 501 and 502 only and reads any other document
as if it were the snapshot it asked for. So whatever EC2 or the network does to us is a 502,
never a 429, 503 or 504.
"""

from collections.abc import Mapping

RETRY_AFTER_SECONDS = "5"

_EC2_CODES = {
    400: "MissingParameter",
    401: "AuthFailure ExpiredToken IncompleteSignature InvalidAccessKeyId InvalidClientTokenId "
    "MissingAuthenticationToken RequestExpired SignatureDoesNotMatch",
    403: "AccessDenied Blocked OptInRequired PendingVerification UnauthorizedOperation",
    409: "IncorrectState",
    502: "InternalError InternalFailure ServiceUnavailable Unavailable",
}
EC2_CODE_STATUS = {code: status for status, codes in _EC2_CODES.items() for code in codes.split()}
"""Deltacloud status of an EC2 error code (EC2 API reference, "Error codes")."""

EC2_CODE_SUFFIX_STATUS = {".NotFound": 404, ".Malformed": 400, ".InUse": 409, "LimitExceeded": 409}
"""Deltacloud status of the families of EC2 error codes, by how the code ends."""

EC2_THROTTLING_CODES = {
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "SnapshotCreationPerVolumeRateExceeded",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
"""EC2 error codes that say: not now, ask again later."""

HTTP_STATUS_KEPT = frozenset({400, 401, 403, 404, 409})


class DeltacloudError(Exception):
    """An answer that is an error document.

    ``status`` is the HTTP status, ``message`` says to a person what was wrong and what would
    be right, ``ec2_code`` is the EC2 error code where EC2 refused, ``headers`` go out with the
    document. ``parameter`` is the one at fault, where it is one; ``form`` is what a person typed.

    ``is_refusal``: for certain, EC2 has done nothing. ``is_passing``: it may do it later, when
    asked again. ``after_lost_answer``: EC2 was asked before, and that answer was lost.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        ec2_code: str = "",
        parameter: str = "",
        headers: Mapping[str, str] | None = None,
        is_refusal: bool = False,
        is_passing: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.ec2_code = ec2_code
        self.parameter = parameter
        self.headers = dict(headers or {})
        if status == 502:
            self.headers["Retry-After"] = RETRY_AFTER_SECONDS
        self.form: Mapping[str, str] | None = None
        self.is_refusal = is_refusal
        self.is_passing = is_passing
        self.after_lost_answer = False


def from_ec2(code: str | None, message: str | None, http_status: int) -> DeltacloudError:
    """Turn EC2's refusal into an error.

    ``code`` and ``message`` are those of EC2's error document, None where it has none;
    ``http_status`` is the status of EC2's answer: it decides when no table here knows the code.
    """
    if not code and http_status != 429:
        return DeltacloudError(_by_http(http_status), f"EC2 answered with status {http_status}.")
    code = code or "Throttling"
    is_throttled = code in EC2_THROTTLING_CODES or http_status == 429
    if is_throttled:
        status = 502
    else:
        status = EC2_CODE_STATUS.get(code) or _status_by_suffix(code) or _by_http(http_status)
    return DeltacloudError(
        status,
        f"{code}: {message or 'EC2 says no more.'}",
        ec2_code=code,
        parameter="volume_id" if code.startswith("InvalidVolume") else "",
        is_refusal=is_throttled or 400 <= http_status < 500,
        is_passing=is_throttled,
    )


def from_any(error: Exception) -> DeltacloudError:
    """Turn whatever was raised into an error; one that nobody expected is a 500 by that cause."""
    if isinstance(error, DeltacloudError):
        return error
    fault = DeltacloudError(500, "This is a fault of the server. It has been logged.")
    fault.__cause__ = error
    return fault


def _status_by_suffix(code: str) -> int | None:
    for suffix, status in EC2_CODE_SUFFIX_STATUS.items():
        if code.endswith(suffix):
            return status
    return None


def _by_http(http_status: int) -> int:
    if http_status in HTTP_STATUS_KEPT:
        return http_status
    return 400 if 400 <= http_status < 500 else 502
