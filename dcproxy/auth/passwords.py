"""Names and passwords of accounts: an htpasswd file with bcrypt hashes."""

import re
import sys
import threading
from collections.abc import Callable, Mapping
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path
from secrets import token_bytes

import bcrypt

from dcproxy.deltacloud.errors import ApiError
from dcproxy.settings import SettingError

_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
"""Names of accounts. AWS takes the same characters for ``RoleSessionName``."""

_BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|1[0-7])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
"""What ``htpasswd -B`` writes; 4 to 17 are the costs that it takes. The salt has 128 bits, so its
last character has four values.
"""

_MAX_PASSWORD_BYTES = 72
"""bcrypt ignores what follows."""


def read_passwords(file: Path) -> dict[str, bytes]:
    """Read an htpasswd file into the bcrypt hashes of names.

    Raises ``SettingError`` that names the line which is wrong.
    """
    hashes: dict[str, bytes] = {}
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"the file of accounts {file} cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, hash = line.rstrip().partition(":")
        if not _NAME.fullmatch(name):
            wrong = "a name has 2 to 64 letters, digits and characters of _+=,.@-"
        elif name in hashes:
            wrong = f"the name {name} is there already"
        elif not _BCRYPT.fullmatch(hash):
            wrong = f"{name} has no bcrypt hash: use htpasswd -B"
        else:
            hashes[name] = hash.encode()
            continue
        raise SettingError(f"{file}, line {number}: {wrong}")
    if not hashes:
        raise SettingError(f"{file} has no accounts: use htpasswd -B")
    return hashes


class LoginFailedError(ApiError):
    """Name or password of an account are wrong: a 401 document."""

    def __init__(self, message: str = "The name or the password is wrong.") -> None:
        super().__init__(401, message)


class Passwords:
    """Verifies names and passwords.

    ``hashes`` are the bcrypt hashes of names. The right password of each name is remembered as a
    digest with a key of this process.
    """

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        self._hashes = hashes
        self._all_hashes = list(hashes.values())
        self._key = token_bytes(blake2b.MAX_KEY_SIZE)
        self._verified: dict[str, bytes] = {}
        self._one_at_a_time = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._hashes

    def verify(self, name: str, password: str, address: str, seconds: float) -> None:
        """Raise a 401 ``ApiError`` unless a name has a password, for unknown names as late.

        One password is verified at a time. Raises a 502 ``ApiError`` when it is not the turn of
        this one within ``seconds``.
        """
        secret = password.encode()
        digest = self._digest(secret)
        if self._is_verified(name, digest):
            return
        if len(secret) > _MAX_PASSWORD_BYTES:
            raise LoginFailedError("The password is too long: a password has at most 72 bytes.")
        if not self._one_at_a_time.acquire(timeout=max(seconds, 0)):
            raise ApiError(502, "Too many passwords are being verified.")
        try:
            if self._is_verified(name, digest):  # by another request meanwhile
                return
            hash = self._hash_for(name)
            matches = _run_beside_event_loop(lambda: bcrypt.checkpw(secret, hash))
            if not (matches and name in self._hashes):
                raise LoginFailedError
            self._verified[name] = digest
        finally:
            self._one_at_a_time.release()

    def _is_verified(self, name: str, digest: bytes) -> bool:
        return compare_digest(self._verified.get(name, b""), digest)

    def _digest(self, text: bytes) -> bytes:
        return blake2b(text, key=self._key).digest()

    def _hash_for(self, name: str) -> bytes:
        """Return the hash of a name; for an unknown one always the same of another, at its cost."""
        number = int.from_bytes(self._digest(name.encode()))
        return self._hashes.get(name) or self._all_hashes[number % len(self._all_hashes)]


def _run_beside_event_loop(function: Callable[[], bool]) -> bool:
    """Call what computes for long; under gevent in a thread, since it would stop all requests."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        return bool(sys.modules["gevent"].get_hub().threadpool.apply(function))
    return function()
