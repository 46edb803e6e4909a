"""The error that a client is told."""

from collections.abc import Mapping

RETRY_AFTER_SECONDS = "5"


class ApiError(Exception):
    """An error document.

    ``status`` is the HTTP status, ``message`` says what is wrong and what is allowed, ``code`` is
    the EC2 error code where EC2 sent one, ``parameter`` the parameter at fault, and ``headers``
    are sent with the document. A 502 has ``Retry-After``, unless ``may_retry`` is False.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        parameter: str = "",
        headers: Mapping[str, str] | None = None,
        may_retry: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.parameter = parameter
        self.headers = dict(headers or {})
        if status == 502 and may_retry:
            self.headers["Retry-After"] = RETRY_AFTER_SECONDS
