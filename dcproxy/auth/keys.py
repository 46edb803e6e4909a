"""HTTP Basic credentials (RFC 7617), and the session token of a temporary access key."""

import base64
import binascii
import re
from dataclasses import dataclass, field

from dcproxy.deltacloud.errors import ApiError

# What may stand in a header of the EC2 request.
_HEADER_TEXT = re.compile("[!-~]+")

_TEMPORARY_KEY_PREFIX = "ASIA"
"""Begins the ids of AWS's temporary access keys (IAM User Guide, "IAM identifiers")."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """User name and password of a caller, often an AWS access key id and its secret key.

    ``session_token`` is that of the header ``X-Amz-Security-Token``, empty without one.
    """

    user: str
    password: str = field(repr=False)
    session_token: str = field(default="", repr=False)

    def access_key(self) -> tuple[str, str, str]:
        """Return access key id, secret key and session token.

        Clients that cannot send the header send ``SECRET:TOKEN`` as the password of a temporary
        key. Raises a 401 ``ApiError`` when a temporary key has no session token.
        """
        secret, token = self.password, self.session_token
        if self.user.startswith(_TEMPORARY_KEY_PREFIX) and not token:
            # A secret key of AWS contains no colon.
            secret, _, token = secret.partition(":")
            if not secret or not _HEADER_TEXT.fullmatch(token):
                raise ApiError(
                    401,
                    "A temporary access key needs its session token: in the header "
                    "X-Amz-Security-Token, or after the secret key, as SECRET_KEY:TOKEN.",
                )
        return self.user, secret, token


def parse_credentials(authorization: str | None, session_token: str | None = None) -> Credentials:
    """Parse the headers ``Authorization`` and ``X-Amz-Security-Token``.

    Only the first colon separates user and password. Raises a 401 ``ApiError`` when there is no
    access key, or when the session token cannot be one.
    """
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        raise ApiError(
            401, "Credentials are required: HTTP Basic takes NAME:PASSWORD, or KEY_ID:SECRET_KEY."
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
    if not _HEADER_TEXT.fullmatch(user) or not password:
        raise ApiError(401, "The credentials are incomplete: HTTP Basic takes KEY_ID:SECRET_KEY.")
    if session_token and not _HEADER_TEXT.fullmatch(session_token):
        raise ApiError(401, "The session token in X-Amz-Security-Token cannot be read.")
    return Credentials(user, password, session_token or "")
