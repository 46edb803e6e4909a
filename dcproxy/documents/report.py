"""What an error document says, whatever its format."""

from collections.abc import Mapping
from typing import NamedTuple

from dcproxy.routes import Urls


class ErrorReport(NamedTuple):
    """An error and the request that met it.

    ``url`` is the request's path and query, ``provider`` the region that it named or an empty
    text, ``parameters`` are those that it gave. ``urls`` are None where its address means nothing.
    ``parameter`` is the one at fault, ``form`` what a person typed into the form that failed.
    """

    status: int
    reason: str
    message: str
    ec2_code: str
    url: str
    provider: str
    parameters: Mapping[str, str]
    urls: Urls | None
    parameter: str = ""
    form: Mapping[str, str] | None = None
