"""The caller that most tests send requests as, and the secrets of all callers."""

import base64
from collections import defaultdict
from collections.abc import Collection

_secrets: defaultdict[str, set[str]] = defaultdict(set)


def register_caller(id: str, secret: str) -> tuple[str, str]:
    """Let the programmed EC2 check the signatures of a caller, and return both arguments."""
    _secrets[id].add(secret)
    return id, secret


def secrets_of(id: str) -> Collection[str]:
    """Return the registered secrets of an access key id."""
    return _secrets.get(id, ())


def basic_authorization(text: str) -> str:
    """Encode ``user:password`` as the value of an Authorization header (RFC 7617)."""
    register_caller(*text.partition(":")[::2])
    return "Basic " + base64.b64encode(text.encode()).decode()


CALLER = ("AKIDEXAMPLE", "se/cr+et=:key")
AUTHORIZATION = basic_authorization(":".join(CALLER))
