"""Logs on stderr: a line a record, as JSON for machines or as text for people.

The line of a request is a record of the logger ``dcproxy.requests``. Its fields are attributes of
the record, so that an operator's own formatter can write them too.
"""

import json
import logging
import re
import sys
from collections.abc import Callable
from configparser import ConfigParser
from datetime import UTC, datetime
from os import PathLike
from typing import Any

FIELDS = (
    "request_id",
    "method",
    "path",
    "status",
    "duration",
    "operation",
    "provider",
    "access_key_id",
    "ec2_request_ids",
    "retries",
    "error_code",
    "error",
    "traceparent",
)
"""Fields of a request's line; ``duration`` is in seconds, None is what there is not."""

_IN_THE_MESSAGE = {"method", "path", "status"}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# gunicorn repeats what it cannot read of a request, which may be a secret or its query.
_UNREAD = re.compile(r"(Invalid request from ip=\S+ [^:'\"]*).*", re.DOTALL)


def _without_the_request(record: logging.LogRecord) -> bool:
    record.msg = _UNREAD.sub(r"\1", str(record.msg))
    return True


logging.getLogger("gunicorn.error").addFilter(_without_the_request)


class LineFormatter(logging.Formatter):
    """Makes one line of a record: its time, level and message, and the fields that it has."""

    def __init__(self, write: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self._write = write

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; a traceback is its field ``exception``."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        fields = {name: getattr(record, name, None) for name in FIELDS}
        line |= {name: value for name, value in fields.items() if value is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self._write(line)


def _text(line: dict[str, Any]) -> str:
    exception = line.pop("exception", None)
    message = _CONTROL.sub(lambda found: repr(found[0])[1:-1], line.pop("message"))
    start = f"{line.pop('time')} {line.pop('level').upper()} {message}"
    fields = [
        f"{name}={_word(value)}" for name, value in line.items() if name not in _IN_THE_MESSAGE
    ]
    return " ".join([start, *fields]) + (f"\n{exception}" if exception else "")


def _word(value: object) -> str:
    text = ",".join(value) if isinstance(value, list) else str(value)
    return text if re.fullmatch(r"[\w.:/,+@-]+", text, re.ASCII) else json.dumps(text)


FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {"json": json.dumps, "text": _text}
"""How a line is written, by the option ``log_format``."""


def configure(format: str | None, config_file: str | None) -> None:
    """Write this package's logs to stderr, unless the operator has said where logs go.

    That is by ``[loggers]`` in ``config_file``, or by handlers that are there already. ``format``
    None is text in a terminal and JSON elsewhere.
    """
    logger = logging.getLogger("dcproxy")
    for handler in logger.handlers[:]:
        if isinstance(handler.formatter, LineFormatter):
            logger.removeHandler(handler)
            logger.propagate = True
    if (config_file and has_section(config_file, "loggers")) or logger.hasHandlers():
        return
    handler = logging.StreamHandler()
    by_the_stream = "text" if sys.stderr.isatty() else "json"
    handler.setFormatter(LineFormatter(FORMATS[format or by_the_stream]))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def has_section(config_file: str | PathLike[str], name: str) -> bool:
    """Tell whether an ini file has a section."""
    parser = ConfigParser(interpolation=None, strict=False)
    parser.read(config_file)
    return parser.has_section(name)
