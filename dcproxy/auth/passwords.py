"""Names and passwords of accounts: an htpasswd file with bcrypt hashes."""

import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import cache, partial
from hashlib import blake2b
from hmac import compare_digest
from ipaddress import IPv6Address
from pathlib import Path
from secrets import token_bytes

import bcrypt
from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool

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

_MAX_WAITING = 128
"""Passwords from one address that wait to be verified."""


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
    """Verifies names and passwords, one at a time; addresses take turns.

    ``hashes`` are the bcrypt hashes of names. The right password of each name is remembered as a
    digest with a key of this process.
    """

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        self._hashes = hashes
        self._costliest = max(hashes.values(), key=_cost, default=b"")
        self._key = token_bytes(blake2b.MAX_KEY_SIZE)
        self._verified: dict[str, bytes] = {}
        self._lock = threading.Lock()
        # Names, passwords and their digests by address; the first address is next.
        self._waiting: dict[str, deque[tuple[str, bytes, bytes]]] = {}
        self._unfinished: dict[tuple[str, bytes], Future[bool]] = {}
        self._is_working = False

    def verify(self, name: str, password: str, address: str, seconds: float) -> None:
        """Return if a name has a password. ``address`` is that of the client.

        Raises ``LoginFailedError`` otherwise, which takes equally long for every name, and a 502
        ``ApiError`` when too many passwords from this address wait, or when ``seconds`` are over.
        """
        secret = password.encode()
        digest = blake2b(secret, key=self._key).digest()
        if compare_digest(self._verified.get(name, b""), digest):
            return
        if len(secret) > _MAX_PASSWORD_BYTES:
            raise LoginFailedError("The password is too long: a password has at most 72 bytes.")
        attempt = self._attempt(name, secret, digest, _client(address))
        try:
            matches = attempt.result(max(seconds, 0))
        except TimeoutError:
            raise ApiError(502, "Too many passwords are being verified.") from None
        if not matches:
            raise LoginFailedError

    def _attempt(self, name: str, secret: bytes, digest: bytes, client: str) -> "Future[bool]":
        """Return the attempt with a name and a password, a new one unless there is one."""
        with self._lock:
            attempt = self._unfinished.get((name, digest))
            if attempt is None:
                queue = self._waiting.setdefault(client, deque())
                if len(queue) >= _MAX_WAITING:
                    message = "Too many passwords from this address are being verified."
                    raise ApiError(502, message, is_refusal=True)
                queue.append((name, secret, digest))
                attempt = self._unfinished[name, digest] = Future()
                if not self._is_working:
                    threading.Thread(target=self._work, daemon=True).start()
                    self._is_working = True
            return attempt

    def _work(self) -> None:
        while waiting := self._next():
            name, secret, digest = waiting
            attempt = self._unfinished[name, digest]
            try:
                matches = _run_beside_event_loop(partial(self._matches, name, secret))
            except Exception as error:
                attempt.set_exception(error)
            else:
                if matches:
                    self._verified[name] = digest
                attempt.set_result(matches)
            del self._unfinished[name, digest]

    def _next(self) -> tuple[str, bytes, bytes] | None:
        with self._lock:
            client = next(iter(self._waiting), None)
            if client is None:
                self._is_working = False
                return None
            queue = self._waiting.pop(client)
            waiting = queue.popleft()
            if queue:
                self._waiting[client] = queue  # after all others
            return waiting

    def _matches(self, name: str, secret: bytes) -> bool:
        hash = self._hashes.get(name, self._costliest)
        if bcrypt.checkpw(secret, hash) and name in self._hashes:
            return True
        # Costs are powers of two: 2**5 + 2**5 + 2**6 + 2**7 is 2**8.
        for cost in range(_cost(hash), _cost(self._costliest)):
            bcrypt.hashpw(secret, b"%s%02d%s" % (hash[:4], cost, hash[6:29]))
        return False


def _cost(hash: bytes) -> int:
    return int(hash[4:6])


def _client(address: str) -> str:
    """Return what one client has of addresses: of IPv6 the first 64 bits, all else itself."""
    try:
        number = IPv6Address(address)
    except ValueError:
        return address
    return str(number.ipv4_mapped or int(number) >> 64)


def _run_beside_event_loop(function: Callable[[], bool]) -> bool:
    """Call what computes for long; under gevent in a thread, since it would stop all requests."""
    return _bcrypt_thread().apply(function) if is_module_patched("threading") else function()


@cache
def _bcrypt_thread() -> ThreadPool:
    """Create the thread at first use, after the fork: name lookups may use up those of gevent."""
    return ThreadPool(1)
