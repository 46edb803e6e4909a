"""What an error document says, whatever its format."""

from collections.abc import Mapping
from typing import NamedTuple


class ErrorReport(NamedTuple):
    """An error and the request that met it.

    ``url`` is the request's path and query, ``provider`` the region that it named or an empty
    text, ``parameters`` are those that it gave.
    """

    status: int
    reason: str
    message: str
    ec2_code: str
    url: str
    provider: str
    parameters: Mapping[str, str]
