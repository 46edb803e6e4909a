"""The error that a client is told."""

from collections.abc import Callable, Mapping

from dcproxy.deltacloud.models import ErrorDocument

RETRY_AFTER = 5
"""Seconds after which a request that failed may be repeated."""


class ApiError(Exception):
    """An error document.

    ``status`` is the HTTP status, ``message`` says what is wrong and what is allowed, ``code`` is
    the EC2 error code where EC2 sent one, ``parameter`` the parameter at fault, and ``headers``
    are sent with the document. ``retry_after`` is sent with a 502, unless it is None.
    ``is_refusal``: EC2, or a limit of its caller, has refused the request, so nothing is out of
    order. ``write`` writes the document in place of the renderer of the format: a form that is
    shown again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        parameter: str = "",
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = RETRY_AFTER,
        is_refusal: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.parameter = parameter
        self.headers = dict(headers or {})
        if status == 502 and retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)
        self.is_refusal = is_refusal
        self.write: Callable[[ErrorDocument], str] | None = None
