"""Who sends a request, and the access key that signs it: the caller's own, or an account's."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from dcproxy.auth.keys import Credentials
from dcproxy.auth.passwords import Passwords, read_passwords
from dcproxy.auth.profiles import Profiles
from dcproxy.ec2.session import AccessKey
from dcproxy.runtime import Runtime
from dcproxy.settings import SettingError, Settings


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    ``name`` is that of an account, or the id of an access key. ``region`` is that of requests
    which name none. ``access_key`` returns the key that signs; it may wait for the given number of
    seconds, and raise ``EC2Error``.
    """

    name: str
    region: str
    is_account: bool
    access_key: Callable[[float], AccessKey]


class Callers:
    """Those who are let in: accounts, or everybody who has an access key.

    ``regions`` are those of EC2. Raises ``SettingError`` for files of accounts that are wrong.
    """

    def __init__(self, settings: Settings, runtime: Runtime, regions: Collection[str]) -> None:
        self._provider = settings.provider
        self._own_keys = settings.own_keys or settings.accounts is None
        if (settings.accounts is None) != (settings.aws_config is None):
            raise SettingError("the options accounts and aws_config need each other")
        hashes = read_passwords(Path(settings.accounts)) if settings.accounts else {}
        self._passwords = Passwords(hashes)
        self._profiles = Profiles(settings, hashes, runtime.monotonic) if hashes else None
        for name in hashes:
            region = self._profiles.region(name) if self._profiles else ""
            if region and region not in regions:
                raise SettingError(
                    f"{settings.aws_config}: [profile {name}] has the region {region!r}: "
                    f"the regions are {', '.join(regions)}"
                )

    def identify(self, credentials: Credentials, address: str, seconds: float) -> Caller:
        """Return who sends a request from ``address``, after a wait of ``seconds`` at most.

        Raises ``LoginFailedError``, unless the caller is an account with this password or has an
        access key where these are let in; another ``ApiError`` (401) for a temporary key without a
        session token, and a 502 when the password cannot be verified in time.
        """
        name = credentials.user
        if self._profiles is None or (self._own_keys and name not in self._passwords):
            access_key = AccessKey(*credentials.access_key())
            return Caller(name, self._provider, False, lambda seconds: access_key)
        self._passwords.verify(name, credentials.password, address, seconds)
        profiles = self._profiles
        return Caller(
            name,
            profiles.region(name) or self._provider,
            True,
            lambda seconds: profiles.access_key(name, seconds),
        )
