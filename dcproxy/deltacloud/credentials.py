"""HTTP Basic credentials (RFC 7617)."""

import base64
import binascii
import re
from dataclasses import dataclass, field

from dcproxy.deltacloud.errors import ApiError


@dataclass(frozen=True, slots=True)
class Credentials:
    """User name and password of a caller: an AWS access key id and its secret key."""

    user: str
    password: str = field(repr=False)


def parse_credentials(authorization: str | None) -> Credentials:
    """Parse an ``Authorization`` header; only the first colon separates user and password.

    Raises a 401 ``ApiError`` when it holds no access key.
    """
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        raise ApiError(
            401,
            "Credentials are required: HTTP Basic with an AWS access key id and its secret key.",
        )
    try:
        # Python 2 and old Ruby insert line feeds; others leave the padding out.
        compact = "".join(encoded.split()).rstrip("=")
        padding = "=" * (-len(compact) % 4)
        decoded = base64.b64decode(compact + padding, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ApiError(
            401, "The credentials cannot be read: HTTP Basic takes Base64 of KEY_ID:SECRET_KEY."
        ) from error
    user, _, password = decoded.partition(":")
    # The key id is written into the Authorization header of the EC2 request.
    if not re.fullmatch(r"[!-~]+", user) or not password:
        raise ApiError(401, "The credentials are incomplete: HTTP Basic takes KEY_ID:SECRET_KEY.")
    return Credentials(user, password)
