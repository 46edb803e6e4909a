"""HTTP Basic to AWS credentials."""

import base64
import binascii
import re
from dataclasses import dataclass, field

from webob import Request

from dcproxy.errors import DeltacloudError
from dcproxy.trace import trace_of


@dataclass(frozen=True, slots=True)
class Credentials:
    """One caller's AWS access key."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


def from_request(request: Request) -> Credentials:
    """Read the caller's access key: HTTP Basic (RFC 7617), user = key id, password = secret.

    Only the first colon splits. Raises a 401 ``DeltacloudError`` when there is none that could
    sign a request.
    """
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        raise DeltacloudError(
            401, "Credentials are needed: HTTP Basic with an AWS access key id and its secret key."
        )
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        raise DeltacloudError(
            401, "The credentials cannot be read: HTTP Basic takes Base64 of KEY_ID:SECRET_KEY."
        ) from None
    access_key_id, _, secret_access_key = decoded.partition(":")
    # The key id is put into the Authorization header of the request to EC2.
    if not re.fullmatch(r"[!-~]+", access_key_id) or not secret_access_key:
        raise DeltacloudError(
            401, "The credentials are not complete: HTTP Basic takes KEY_ID:SECRET_KEY."
        )
    trace_of(request.environ).access_key_id = access_key_id[-4:]
    return Credentials(access_key_id, secret_access_key)
