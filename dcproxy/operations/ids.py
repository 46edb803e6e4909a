"""The ids of EC2: old ones of 8 hexadecimal digits, new ones of 17."""

import re

from dcproxy.deltacloud.errors import ApiError

INSTANCE_ID = re.compile(r"i-[0-9A-Fa-f]{8}(?:[0-9A-Fa-f]{9})?")
SNAPSHOT_ID = re.compile(r"snap-[0-9A-Fa-f]{8}(?:[0-9A-Fa-f]{9})?")
VOLUME_ID = re.compile(r"vol-[0-9A-Fa-f]{8}(?:[0-9A-Fa-f]{9})?")


def check_id(pattern: re.Pattern[str], id: str) -> None:
    """Raise a 404 ``ApiError`` for a text that cannot be an id, without calling EC2."""
    if not pattern.fullmatch(id):
        raise ApiError(404, f"There is no {id!r}: that is not an id of EC2.")
