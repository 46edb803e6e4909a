"""Files of accounts: passwords, and profiles with which the STS stand-in is called."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import bcrypt

from tests.support.callers import register_caller

BASE_KEY = register_caller("AKIABASEOFTHEFILES00", "secret/of/the/base")

BASE = f"""
[profile base]
aws_access_key_id = {BASE_KEY[0]}
aws_secret_access_key = {BASE_KEY[1]}
"""


class AccountFiles(NamedTuple):
    """The files, and what goes into each profile; the names are the options' names."""

    accounts: Path
    aws_config: Path

    @property
    def options(self) -> dict[str, str]:
        return {"accounts": str(self.accounts), "aws_config": str(self.aws_config)}


def password_of(name: str) -> str:
    return f"password of {name}: 1"


@cache
def password_hash(password: str, cost: int = 4) -> str:
    """Hash a password, at the lowest cost where nothing else is said; always to the same."""
    return bcrypt.hashpw(password.encode(), f"$2b${cost:02}${'salt' * 5}.O".encode()).decode()


def htpasswd_line(name: str, cost: int = 4) -> str:
    return f"{name}:{password_hash(password_of(name), cost)}\n"


def role_of(name: str) -> str:
    return f"arn:aws:iam::123456789012:role/{name}"


def role_profile(name: str, sts_url: str, more: str = "source_profile = base") -> str:
    """Write the profile of an account with the role of its name."""
    return f"[profile {name}]\nrole_arn = {role_of(name)}\nendpoint_url = {sts_url}\n{more}\n"


def write_account_files(
    folder: Path, profiles: dict[str, str], bcrypt_cost: int = 4
) -> AccountFiles:
    """Write both files. ``profiles`` are the texts of the profiles of the accounts."""
    files = AccountFiles(folder / "accounts", folder / "aws-config")
    files.accounts.write_text("".join(htpasswd_line(name, bcrypt_cost) for name in profiles))
    files.aws_config.write_text(BASE + "\n".join(profiles.values()))
    return files
