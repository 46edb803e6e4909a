"""Who sends a request, and the access key that signs it: the caller's own, or an account's."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from dcproxy.auth.keys import Credentials
from dcproxy.auth.passwords import Passwords, read_passwords
from dcproxy.auth.profiles import read_profiles
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
    """Identifies callers by the password of an account, or by their own access key.

    ``accounts`` are the profiles of accounts by name, ``regions`` those of EC2. ``record`` is told
    "ok" or "failed" after each attempt to obtain the credentials of an account. Raises
    ``SettingError`` for files of accounts that are wrong.
    """

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        regions: Collection[str],
        record: Callable[[str], None],
    ) -> None:
        self._provider = settings.provider
        self._own_keys = settings.own_keys or settings.accounts is None
        if (settings.accounts is None) != (settings.aws_config is None):
            raise SettingError("the options accounts and aws_config need each other")
        hashes = read_passwords(Path(settings.accounts)) if settings.accounts else {}
        self._passwords = Passwords(hashes)
        self.accounts = read_profiles(settings, hashes, runtime, record) if hashes else {}
        for name, profile in self.accounts.items():
            if profile.region and profile.region not in regions:
                raise SettingError(
                    f"{settings.aws_config}: [profile {name}] has the region {profile.region!r}: "
                    f"the regions are {', '.join(regions)}"
                )

    def identify(self, credentials: Credentials, address: str, seconds: float) -> Caller:
        """Return who sends a request from ``address``, after a wait of ``seconds`` at most.

        Raises ``LoginFailedError``, unless the caller is an account with this password or has an
        access key where these are let in; another ``ApiError`` (401) for a temporary key without a
        session token, and a 502 when the password cannot be verified in time.
        """
        name = credentials.user
        profile = self.accounts.get(name)
        if profile is None and self._own_keys:
            access_key = AccessKey(*credentials.access_key())
            return Caller(name, self._provider, False, lambda seconds: access_key)
        self._passwords.verify(name, credentials.password, address, seconds)
        assert profile is not None  # noqa: S101 (only names of accounts have passwords)
        return Caller(name, profile.region or self._provider, True, profile.access_key)
