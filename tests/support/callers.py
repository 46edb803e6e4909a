"""The caller that most tests send requests as."""

import base64


def basic_authorization(text: str) -> str:
    """Encode ``user:password`` as the value of an Authorization header (RFC 7617)."""
    return "Basic " + base64.b64encode(text.encode()).decode()


CALLER = ("AKIDEXAMPLE", "se/cr+et=:key")
AUTHORIZATION = basic_authorization(":".join(CALLER))
