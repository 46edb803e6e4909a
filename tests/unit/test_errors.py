"""The status of an error of EC2."""

import pytest

from dcproxy import errors


@pytest.mark.parametrize(
    ("code", "of_ec2", "status"),
    [
        ("AuthFailure", 401, 401),
        ("InvalidClientTokenId", 403, 401),
        ("InvalidAccessKeyId", 403, 401),
        ("SignatureDoesNotMatch", 403, 401),
        ("IncompleteSignature", 400, 401),
        ("MissingAuthenticationToken", 403, 401),
        ("ExpiredToken", 400, 401),
        ("RequestExpired", 400, 401),
        ("UnauthorizedOperation", 403, 403),
        ("AccessDenied", 403, 403),
        ("OptInRequired", 401, 403),
        ("Blocked", 400, 403),
        ("PendingVerification", 400, 403),
        ("InvalidSnapshot.NotFound", 400, 404),
        ("InvalidVolume.NotFound", 400, 404),
        ("MissingParameter", 400, 400),
        ("InvalidParameterValue", 400, 400),
        ("InvalidParameterCombination", 400, 400),
        ("InvalidSnapshotID.Malformed", 400, 400),
        ("InvalidSnapshot.InUse", 400, 409),
        ("IncorrectState", 400, 409),
        ("SnapshotLimitExceeded", 400, 409),
        ("ConcurrentSnapshotLimitExceeded", 400, 409),
        ("RequestLimitExceeded", 503, 502),
        ("Throttling", 400, 502),
        ("InternalError", 500, 502),
        ("Unavailable", 503, 502),
        ("NeverHeardOfIt", 400, 400),
        ("NeverHeardOfIt", 404, 404),
        ("NeverHeardOfIt", 418, 400),
        ("NeverHeardOfIt", 429, 502),
        ("NeverHeardOfIt", 500, 502),
        ("NeverHeardOfIt", 307, 502),
    ],
)
def test_status_of_an_ec2_error(code, of_ec2, status):
    error = errors.from_ec2(code, "No.", of_ec2)
    assert error.status == status
    assert error.ec2_code == code
    assert error.message == f"{code}: No."
