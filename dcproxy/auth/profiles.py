"""Credentials of the profiles in an AWS shared configuration file, which botocore resolves.

A profile never falls back on an identity of the host: only what the profile itself names is used.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from botocore.config import Config
from botocore.configloader import load_config
from botocore.credentials import Credentials, RefreshableCredentials, create_credential_resolver
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
)
from botocore.loaders import Loader
from botocore.session import Session

from dcproxy.ec2.errors import EC2Error, Outcome
from dcproxy.ec2.session import AccessKey, builtin_models, parsed_error
from dcproxy.settings import SettingError, Settings

log = logging.getLogger(__name__)

_REFRESH_BEFORE = 15 * 60
"""Seconds before their expiry from which credentials are refreshed."""

_LAST_USE_BEFORE = 60
"""Seconds before their expiry from which credentials are not used any more."""

_REFRESH_INTERVAL = 10
"""Seconds between two attempts to refresh the credentials of one profile."""

_METHODS = frozenset(
    {"assume-role", "assume-role-with-web-identity", "sso", "custom-process", "config-file"}
)
"""The providers of botocore that use what a profile says, and nothing else of the host."""

_FROM_ENVIRONMENT = re.compile("ca_bundle|.*metadata.*|imds.*")
"""The session variables that the environment may set: where the metadata service is, and how TLS
is verified."""

_SOURCES = ("Environment", "EcsContainer", "Ec2InstanceMetadata")

_KEYS = ("aws_access_key_id", "aws_secret_access_key")
_ROLES = (
    ("role_arn", "web_identity_token_file"),
    ("role_arn", "source_profile"),
    ("role_arn", "credential_source"),
)
_OTHERS = (
    ("sso_account_id", "sso_role_name", "sso_session"),
    ("sso_account_id", "sso_role_name", "sso_start_url", "sso_region"),
    ("credential_process",),
    _KEYS,
)
"""The keys of a complete profile with a role, and without one, in the order in which botocore
looks for them (AWS SDKs and Tools Reference Guide)."""


class Profiles:
    """The profiles with some names in the file ``settings.aws_config``.

    ``monotonic`` measures intervals in seconds. Raises ``SettingError`` for a file that cannot be
    read, and for a profile that is missing or incomplete. Nothing is called to find that out.
    """

    def __init__(
        self, settings: Settings, names: Collection[str], monotonic: Callable[[], float]
    ) -> None:
        assert settings.aws_config is not None  # noqa: S101
        _hide_causes_in_logs()
        file, models = Path(settings.aws_config), builtin_models()
        try:
            file.read_bytes()
            config = load_config(settings.aws_config)
        except (OSError, BotoCoreError) as error:
            raise SettingError(f"the file of aws_config {file} cannot be read: {error}") from error
        for name in names:
            if problem := _problem(config, name):
                raise SettingError(f"{file}: {problem}")
        self._profiles = {
            name: _Profile(
                name,
                config["profiles"][name].get("region", ""),
                partial(_load, settings, _config_of(config, name), models),
                monotonic,
            )
            for name in names
        }

    def region(self, name: str) -> str:
        """Return the region of a profile, empty without one."""
        return self._profiles[name].region

    def access_key(self, name: str, seconds: float) -> AccessKey:
        """Return an access key that is valid for a minute at least.

        It waits for credentials if there are none yet, at most ``seconds``. Raises ``EC2Error``
        when they cannot be obtained; its message names the profile and the cause.
        """
        return self._profiles[name].access_key(seconds)


class _Current(NamedTuple):
    credentials: Credentials
    access_key: AccessKey

    def expires_within(self, seconds: int) -> bool:
        credentials = self.credentials
        return isinstance(credentials, RefreshableCredentials) and credentials.refresh_needed(
            seconds
        )


class _Profile:
    """The credentials of one profile; one thread at a time obtains new ones."""

    def __init__(
        self,
        name: str,
        region: str,
        load: Callable[[], Credentials],
        monotonic: Callable[[], float],
    ) -> None:
        self._name = name
        self.region = region
        self._load = load
        self._monotonic = monotonic
        self._current: _Current | None = None
        self._lock = threading.Lock()
        self._refresh: Future[_Current] | None = None
        self._next_refresh = 0.0

    def access_key(self, seconds: float) -> AccessKey:
        current = self._current
        if current is not None and not current.expires_within(_REFRESH_BEFORE):
            return current.access_key
        refresh = self._refreshing()
        if current is not None and not current.expires_within(_LAST_USE_BEFORE):
            return current.access_key
        wait([refresh], seconds)
        if not refresh.done():
            raise self._error("it takes too long")
        try:
            return refresh.result().access_key
        except Exception as error:
            raise self._error(_cause(error)) from None  # its text may hold secrets

    def _refreshing(self) -> "Future[_Current]":
        """Return the refresh in progress, or the last one when it is too early for another one."""
        with self._lock:
            now = self._monotonic()
            refresh = self._refresh
            if refresh is None or (refresh.done() and now >= self._next_refresh):
                refresh = Future()
                threading.Thread(target=self._obtain, args=(refresh,), daemon=True).start()
                self._refresh, self._next_refresh = refresh, now + _REFRESH_INTERVAL
            return refresh

    def _obtain(self, refresh: "Future[_Current]") -> None:
        try:
            credentials = self._load()
            frozen = credentials.get_frozen_credentials()
            access_key = AccessKey(
                frozen.access_key or "", frozen.secret_key or "", frozen.token or ""
            )
            current = _Current(credentials, access_key)
        except Exception as error:
            log.warning("no credentials for the account %s: %s", self._name, _cause(error))
            refresh.set_exception(error)
        else:
            self._current = current
            refresh.set_result(current)

    def _error(self, cause: str) -> EC2Error:
        message = f"There are no credentials for the account {self._name}: {cause}."
        return EC2Error(message, Outcome.NOT_SENT)


class _Session(Session):
    """A session of the first profile in ``config``, which reads no file.

    Nor does it take anything from the environment but where the metadata service is.
    """

    def __init__(self, settings: Settings, config: Mapping[str, Any], models: Loader) -> None:
        self._given = config
        variables = {
            name: (in_file, variable if _FROM_ENVIRONMENT.fullmatch(name) else None, *more)
            for name, (in_file, variable, *more) in self.SESSION_VARIABLES.items()
        }
        variables["config_file"] = (None, None, settings.aws_config, None)
        variables["credentials_file"] = (None, None, os.devnull, None)
        *names, _, convert = variables["ec2_metadata_v1_disabled"]
        variables["ec2_metadata_v1_disabled"] = (*names, True, convert)
        super().__init__(session_vars=variables, profile=next(iter(config["profiles"])))
        self.register_component("data_loader", models)
        self.set_default_client_config(
            Config(
                connect_timeout=settings.connect_timeout,
                read_timeout=settings.read_timeout,
                retries={"mode": "standard", "total_max_attempts": settings.retry_attempts},
                user_agent_extra="dcproxy",
            )
        )

    @property
    def full_config(self) -> Any:
        """The configuration, as ``load_config`` gives it."""
        return self._given


def _load(settings: Settings, config: Mapping[str, Any], models: Loader) -> Credentials:
    """Obtain the credentials that the first profile in ``config`` names."""
    session = _Session(settings, config, models)
    region = session.get_scoped_config().get("region") or settings.provider
    resolver = create_credential_resolver(session, region_name=region)
    # The others are the environment, files and metadata of the host.
    resolver.providers = [
        provider for provider in resolver.providers if provider.METHOD in _METHODS
    ]
    # Clients of STS look for credentials there before they find out that they need none.
    session.register_component("credential_provider", resolver)
    credentials = resolver.load_credentials()
    if credentials is None:
        raise NoCredentialsError
    return credentials


def _config_of(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the part of a configuration that a profile needs: itself first, and its sources.

    The sessions of all its roles have its name, unless the profiles have another.
    """
    profiles: dict[str, Any] = {}
    source = name
    while source in config["profiles"] and source not in profiles:
        profiles[source] = {"role_session_name": name, **config["profiles"][source]}
        source = profiles[source].get("source_profile")
    return {**config, "profiles": profiles}


def _problem(config: Mapping[str, Any], name: str, parents: tuple[str, ...] = ()) -> str | None:
    """Say what is wrong with a profile, as far as that shows without calling anything.

    ``parents`` are the profiles of which this one is the source.
    """
    profile: Mapping[str, Any] | None = config["profiles"].get(name)
    if profile is None:
        return f"there is no [profile {name}]"
    has_keys = _has(profile, _KEYS)
    if name in parents[:-1] or (name in parents and not has_keys):
        return f"[profile {name}]: its source_profile leads back to it"
    if parents and has_keys:
        return None  # botocore takes them, whatever else a source has
    kinds = _ROLES if "role_arn" in profile else _OTHERS
    kind = next((kind for kind in kinds if _has(profile, kind)), None)
    if kind is None:
        takes = "; ".join(" and ".join(kind) for kind in kinds)
        return f"[profile {name}] is incomplete: it takes {takes}"
    if "mfa_serial" in profile:
        return f"[profile {name}] has mfa_serial: nobody can enter a code here"
    if "sso_session" in kind and profile["sso_session"] not in config["sso_sessions"]:
        return f"there is no [sso-session {profile['sso_session']}]"
    if "credential_source" in kind and profile["credential_source"] not in _SOURCES:
        return f"[profile {name}]: credential_source takes {', '.join(_SOURCES)}"
    if "credential_source" in profile and "source_profile" in profile:
        return f"[profile {name}] has both credential_source and source_profile"
    if "source_profile" in kind:
        return _problem(config, profile["source_profile"], (*parents, name))
    return None


def _has(profile: Mapping[str, Any], keys: Collection[str]) -> bool:
    return all(profile.get(key) for key in keys)


def _cause(error: Exception) -> str:
    """Say why there are no credentials; what programs and services have sent stays out of it.

    The first line of an error of AWS contains no secret, later ones quote the request.
    """
    if isinstance(error, ClientError):
        code, message, status = parsed_error(error.response)
        first_line = next(iter(message.splitlines()), "")
        return f"{error.operation_name} failed with {code or status}: {first_line}".rstrip(". ")
    if isinstance(error, CredentialRetrievalError):
        return f"{error.kwargs.get('provider')} has returned none"
    if isinstance(error, BotoCoreError | OSError):
        return str(error).rstrip(".")
    return type(error).__name__


def _hide_causes_in_logs() -> None:
    # Its tracebacks hold what programs have written. The log has the cause without them.
    logging.getLogger("botocore.credentials").addFilter(_has_no_traceback)


def _has_no_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info
