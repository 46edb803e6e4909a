"""The parameters of a request: those of its query, and those of the form in its body."""

import re
from io import BytesIO
from urllib.parse import parse_qsl

from webob import Request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.wsgi import get_content_length, get_input_stream

from dcproxy.deltacloud.errors import ApiError

MAX_BODY_BYTES = 1 << 16
_MAX_PARAMETERS = 1000

# Characters that XML 1.0 cannot hold, and the replacement for bytes that were not UTF-8.
_UNACCEPTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffc\U00010000-\U0010ffff]")


def query(request: Request) -> dict[str, str]:
    """Read the query of a request. Of a repeated parameter, the last value counts.

    Raises a 400 ``ApiError`` when it holds characters that no document could hold.
    """
    try:
        return _urlencoded(request.environ.get("QUERY_STRING", "").encode("latin-1"))
    except ValueError as error:
        raise ApiError(400, "The query cannot be read: it takes percent-encoded text.") from error


def form(request: Request) -> dict[str, str]:
    """Read the form in the body of a request; without a body there are no parameters.

    Raises ``ApiError``: 413 for a body over ``MAX_BODY_BYTES``, 415 for one that is not
    a form, 400 for one that cannot be read, 501 for one that is compressed on its way.
    """
    body = _body(request)
    if not body:
        return {}
    media_type, options = parse_options_header(request.headers.get("Content-Type", ""))
    media_type = media_type.lower()
    try:
        if media_type == "multipart/form-data":
            return _multipart(body, options)
        if media_type in {"", "application/x-www-form-urlencoded"}:
            return _urlencoded(body)
    except (ValueError, HTTPException) as error:
        raise ApiError(
            400, "The body cannot be read: it is not the form that Content-Type announces."
        ) from error
    raise ApiError(
        415,
        f"A body of type {media_type} is not supported: send a form as "
        "application/x-www-form-urlencoded or multipart/form-data.",
    )


def _body(request: Request) -> bytes:
    # Servers decode ``chunked`` and leave any other coding to the application (RFC 9112, 6.1).
    if request.environ.get("HTTP_TRANSFER_ENCODING", "chunked").strip().lower() != "chunked":
        raise ApiError(501, "A body with a transfer coding other than chunked is not supported.")
    too_large = f"The body is too large: at most {MAX_BODY_BYTES} bytes are allowed."
    try:
        # One byte more than allowed: werkzeug cuts a longer stream without an error.
        body = get_input_stream(request.environ, max_content_length=MAX_BODY_BYTES + 1).read()
        if len(body) < (get_content_length(request.environ) or 0):
            raise EOFError  # the client has closed: for gunicorn, its body ends there
    except RequestEntityTooLarge as error:
        raise ApiError(413, too_large) from error
    except Exception as error:
        # werkzeug raises an error of its own for that of the server.
        if isinstance(error.__context__, TimeoutError):
            reason = error.__context__.strerror or "The request was not complete in time."
            raise ApiError(400, reason) from error
        # Each server has its own errors for a body that is cut or badly chunked.
        raise ApiError(400, "The body is broken or incomplete.") from error
    if len(body) > MAX_BODY_BYTES:
        raise ApiError(413, too_large)
    return body


def _urlencoded(text: bytes, encoding: str = "utf-8") -> dict[str, str]:
    try:
        pairs = parse_qsl(
            text.decode(encoding),
            keep_blank_values=True,
            encoding=encoding,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except UnicodeDecodeError:  # clients that use Latin-1, in which every byte is text
        return _urlencoded(text, "latin-1")
    return _acceptable(dict(pairs))


def _multipart(body: bytes, options: dict[str, str]) -> dict[str, str]:
    parser = FormDataParser(max_form_parts=_MAX_PARAMETERS, silent=False)
    _, fields, files = parser.parse(BytesIO(body), "multipart/form-data", len(body), options)
    values = {name: values[-1] for name, values in fields.lists()}
    # Some clients send a file name with each part.
    values |= {name: file.stream.read().decode() for name, file in files.items()}
    if None in values:
        raise ValueError("a part without a name")
    return _acceptable(values)


def _acceptable(parameters: dict[str, str]) -> dict[str, str]:
    if any(map(_UNACCEPTABLE.search, (*parameters, *parameters.values()))):
        raise ValueError
    return parameters
