"""Lets botocore obtain the credentials of a profile from what the profile names, nothing else."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

from botocore import credentials as providers
from botocore.config import Config
from botocore.exceptions import NoCredentialsError
from botocore.session import Session
from botocore.tokens import SSOTokenProvider
from botocore.utils import create_nested_client

from dcproxy.ec2.session import builtin_models
from dcproxy.settings import Settings

_FROM_ENVIRONMENT = re.compile("ca_bundle|.*metadata.*|imds.*")
"""The session variables that the environment may set: where the metadata service is, and how TLS
is verified."""

_MAX_OUTPUT_BYTES = 1 << 16  # of a credential_process: its document has some hundred


class ProfileSession(Session):
    """A session of a profile, which reads no file and has no identity.

    It takes nothing from the environment but where the metadata service is. The sessions of all
    roles have the name of the profile, unless the profiles have another. A ``credential_process``
    has ``limit`` seconds.
    """

    def __init__(
        self, settings: Settings, config: Mapping[str, Any], name: str, limit: float
    ) -> None:
        variables = {
            name: (in_file, variable if _FROM_ENVIRONMENT.fullmatch(name) else None, *more)
            for name, (in_file, variable, *more) in self.SESSION_VARIABLES.items()
        }
        for file in ("config_file", "credentials_file"):
            variables[file] = (None, None, os.devnull, None)
        *names, _, convert = variables["ec2_metadata_v1_disabled"]
        variables["ec2_metadata_v1_disabled"] = (*names, True, convert)
        super().__init__(session_vars=variables, profile=name)
        profiles = config["profiles"].items()
        self._config = {
            **config,
            "profiles": {key: {"role_session_name": name, **profile} for key, profile in profiles},
        }
        self.register_component("data_loader", builtin_models())
        self.register_component("credential_provider", providers.CredentialResolver([]))
        self.set_default_client_config(
            Config(
                connect_timeout=settings.connect_timeout,
                read_timeout=settings.read_timeout,
                retries={"mode": "standard", "total_max_attempts": settings.retry_attempts},
                user_agent_extra="dcproxy",
            )
        )
        region = config["profiles"][name].get("region") or settings.provider
        self._sts_client = partial(create_nested_client, self, region_name=region)
        self._name, self._limit = name, limit

    def _given_config(self, file: str = "") -> Any:
        return self._config

    full_config = property(_given_config)

    def obtain(self) -> providers.Credentials:
        """Obtain the credentials of the profile. Raises what botocore raises without any."""
        of_host = providers.create_credential_resolver(self)
        sources = [of_host.get_provider(method) for method in ("container-role", "iam-role")]
        sourcer = providers.CanonicalNameCredentialSourcer([providers.EnvProvider(), *sources])
        role = providers.AssumeRoleProvider(
            *(self._given_config, self._sts_client, {}, self._name),
            credential_sourcer=sourcer,
            profile_provider_builder=self,
        )
        all_providers = [role, *self.providers(self._name)]
        credentials = providers.CredentialResolver(all_providers).load_credentials()
        if credentials is None:
            raise NoCredentialsError
        return credentials

    def providers(self, profile_name: str, disable_env_vars: bool = True) -> list[Any]:
        """Create the providers of botocore that use what a profile says, and nothing else.

        botocore asks for those of the ``source_profile`` of a role.
        """
        config = self._given_config
        tokens = SSOTokenProvider(self, profile_name=profile_name)
        return [
            providers.AssumeRoleWithWebIdentityProvider(
                config, self._sts_client, profile_name, disable_env_vars=disable_env_vars
            ),
            providers.SSOProvider(config, self.create_client, profile_name, token_provider=tokens),
            providers.ProcessProvider(profile_name, config, partial(_run, self._limit)),
            providers.ConfigProvider("aws_config", profile_name, config),
        ]


def _run(limit: float, command: list[str], **pipes: Any) -> SimpleNamespace:
    """Run a ``credential_process``; kill it, with what it started, unless it ends in time."""
    pipes |= {"stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **pipes)  # noqa: S603
    killer = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    with process:  # at the end, one that still writes gets SIGPIPE
        output = process.stdout.read(_MAX_OUTPUT_BYTES)  # type: ignore[union-attr]
    killer.cancel()
    if process.returncode == -signal.SIGKILL:
        raise TimeoutError
    return SimpleNamespace(communicate=lambda: (output, b""), returncode=process.returncode)
