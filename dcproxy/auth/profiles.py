"""Credentials of the profiles in an AWS shared configuration file, which botocore resolves.

A profile never falls back on an identity of the host: only what the profile itself names is used.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from botocore.configloader import load_config
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError
from gevent import Timeout

from dcproxy.auth.sources import ProfileSession
from dcproxy.ec2.errors import EC2Error, Outcome, parsed_error, refusal
from dcproxy.ec2.session import AccessKey
from dcproxy.runtime import Runtime
from dcproxy.settings import SettingError, Settings

log = logging.getLogger(__name__)

_REFRESH_BEFORE = 15 * 60
"""Seconds before their expiry from which credentials are refreshed."""

_LAST_USE_BEFORE = 60
"""Seconds before their expiry from which credentials are not used any more."""

_REFRESH_INTERVAL = 10
"""Seconds between two attempts to refresh the credentials of one profile."""

_SOURCES = ("Environment", "EcsContainer", "Ec2InstanceMetadata")

_KEYS = ("aws_access_key_id", "aws_secret_access_key")
_ROLES = (
    ("role_arn", "web_identity_token_file"),
    ("role_arn", "source_profile"),
    ("role_arn", "credential_source"),
)
_KINDS = (
    *_ROLES,
    ("sso_account_id", "sso_role_name", "sso_session"),
    ("sso_account_id", "sso_role_name", "sso_start_url", "sso_region"),
    ("credential_process",),
    _KEYS,
)
"""The keys of a complete profile, in the order in which botocore looks for them (AWS SDKs and Tools
Reference Guide)."""

_ROLE_KEYS = {key for kind in _ROLES for key in kind}
"""With one of them, a profile is meant to have a role: its own keys must not sign in its place."""


def read_profiles(
    settings: Settings, names: Collection[str], runtime: Runtime, record: Callable[[str], None]
) -> "dict[str, Profile]":
    """Read the profiles with some names in the file ``settings.aws_config``.

    ``record`` is told "ok" or "failed" after each attempt to obtain credentials. Raises
    ``SettingError`` for a file that cannot be read, and for a profile that is missing or
    incomplete. Nothing is called to find that out.
    """
    file = Path(settings.aws_config or "")
    # Its tracebacks hold what programs have written. Our log has the cause without them.
    logging.getLogger("botocore.credentials").addFilter(_has_no_traceback)
    try:
        file.read_bytes()
        config = load_config(str(file))
    except (OSError, BotoCoreError) as error:
        raise SettingError(f"the file of aws_config {file} cannot be read: {error}") from error
    for name in names:
        if problem := _problem(config, name):
            raise SettingError(f"{file}: {problem}")
    return {name: Profile(settings, config, name, runtime, record) for name in names}


def _has_no_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info


class Profile:
    """The credentials of one profile; ``region`` is empty without one.

    botocore obtains them anew each time: an attempt that hangs holds no lock of the next one.
    """

    def __init__(
        self,
        settings: Settings,
        config: Mapping[str, Any],
        name: str,
        runtime: Runtime,
        record: Callable[[str], None],
    ) -> None:
        self.region: str = config["profiles"][name].get("region", "")
        self._name = name
        self._limit = settings.deadline / 2  # the requests that wait can still tell the cause
        self._new_session = partial(ProfileSession, settings, config, name, self._limit)
        self._runtime = runtime
        self._record = record
        # The newest access key, and what tells whether it expires within some seconds.
        self._current: tuple[AccessKey, Callable[[int], bool]] = AccessKey("", ""), lambda _: True
        self._lock = threading.Lock()
        self._attempt: Future[AccessKey] | None = None
        self._started = 0.0

    def access_key(self, seconds: float) -> AccessKey:
        """Return an access key that is valid for a minute at least.

        It waits for credentials if there are none yet, at most ``seconds``. Raises ``EC2Error``
        when they cannot be obtained; its message names the profile and the cause.
        """
        access_key, expires_within = self._current
        if not expires_within(_REFRESH_BEFORE):
            return access_key
        attempt = self._newest_attempt()
        if not expires_within(_LAST_USE_BEFORE):
            return access_key
        try:
            return attempt.result(max(seconds, 0))
        except Exception as error:
            cause = _cause(error)
            message = f"There are no credentials for the account {self._name}: {cause}."
            # The text of the error may hold secrets.
            raise EC2Error(message, Outcome.NOT_SENT, cause=f"credentials: {cause}") from None

    def _newest_attempt(self) -> "Future[AccessKey]":
        """Return the attempt in progress, or the last one when it is too early for another one."""
        with self._lock:
            attempt, age = self._attempt, self._runtime.monotonic() - self._started
            if attempt is None or age >= (_REFRESH_INTERVAL if attempt.done() else self._limit):
                attempt = Future()
                threading.Thread(target=self._obtain, args=(attempt,), daemon=True).start()
                self._attempt, self._started = attempt, self._runtime.monotonic()
            return attempt

    def _obtain(self, attempt: "Future[AccessKey]") -> None:
        try:
            # A thread cannot be interrupted as a greenlet can; the next attempt does not wait.
            with self._runtime.time_limit(self._limit):
                credentials = self._new_session().obtain()
                key_id, secret, token, *_ = credentials.get_frozen_credentials()
        except (Exception, Timeout) as problem:
            error = TimeoutError() if isinstance(problem, Timeout) else problem
            log.warning("no credentials for the account %s: %s", self._name, _cause(error))
            self._record("failed")
            attempt.set_exception(error)
        else:
            access_key = AccessKey(key_id or "", secret or "", token or "", is_trusted=True)
            # Only credentials that expire have the method.
            self._current = access_key, getattr(credentials, "refresh_needed", lambda _: False)
            self._record("ok")
            attempt.set_result(access_key)


def _problem(config: Mapping[str, Any], name: str, parents: tuple[str, ...] = ()) -> str | None:
    """Say what is wrong with a profile, as far as that shows without calling anything.

    ``parents`` are the profiles of which this one is the source.
    """
    profile: Mapping[str, Any] | None = config["profiles"].get(name)
    section = f"[profile {name}]"
    if profile is None:
        return f"there is no {section}"
    has_keys = not _lacks(profile, _KEYS)
    if name in parents[:-1] or (name in parents and not has_keys):
        return f"{section}: its source_profile leads back to it"
    if parents and has_keys:
        return None  # botocore takes them, whatever else a source has
    kinds = _ROLES if _ROLE_KEYS & profile.keys() else _KINDS
    kind = next((kind for kind in kinds if not _lacks(profile, kind)), None)
    if kind is None:
        given = [len(profile.keys() & kind) for kind in kinds]
        nearest = [kind for kind in kinds if len(profile.keys() & kind) == max(given)]
        lacks = ", or ".join(" and ".join(_lacks(profile, kind)) for kind in nearest)
        return f"{section} is incomplete: it lacks {lacks}"
    if "mfa_serial" in profile:
        return f"{section} has mfa_serial: nobody can enter a code here"
    if "sso_session" in kind and profile["sso_session"] not in config["sso_sessions"]:
        return f"there is no [sso-session {profile['sso_session']}]"
    if "credential_source" in kind and profile["credential_source"] not in _SOURCES:
        return f"{section}: credential_source takes {', '.join(_SOURCES)}"
    if {"credential_source", "source_profile"} <= profile.keys():
        return f"{section} has both credential_source and source_profile"
    if "source_profile" in kind:
        return _problem(config, profile["source_profile"], (*parents, name))
    return None


def _lacks(profile: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    return [key for key in keys if not profile.get(key)]


def _cause(error: Exception) -> str:
    """Say why there are no credentials; what programs and services have sent stays out of it.

    The first line of an error of AWS contains no secret, later ones quote the request.
    """
    if isinstance(error, ClientError):
        code, message, status = parsed_error(error.response)
        first_line = next(iter(message.splitlines()), "")
        cause = f"{error.operation_name} failed with {code or status}: {first_line}".rstrip(". ")
        is_clock = refusal(error, "", AccessKey("", ""), time.time(), {}).cause.startswith("clock")
        return f"{cause}. The clock of this server is wrong" if is_clock else cause
    if isinstance(error, CredentialRetrievalError):
        return f"{error.kwargs.get('provider')} has returned none"
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, BotoCoreError | OSError):
        return str(error).rstrip(".")
    return type(error).__name__
