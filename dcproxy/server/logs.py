"""Logs, ours and those of gunicorn, one line per record: JSON for machines, text for people.

The log line of a request is a record of the logger ``dcproxy.requests``. Its fields are attributes
of the record, so that an operator's own formatter can write them too.
"""

import json
import logging
import re
import select
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import gunicorn.glogging
import gunicorn.util
from gevent.monkey import get_original

from dcproxy.request_log import FIELDS

_ATOMIC_CHARACTERS = select.PIPE_BUF // 4
_IN_THE_MESSAGE = {"method", "path", "status"}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _time(record: logging.LogRecord) -> str:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return time.replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}


class JsonLineFormatter(logging.Formatter):
    """Writes a record as a JSON object; a traceback is its field ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        level, message = record.levelname.lower(), record.getMessage()
        line = {"time": _time(record), "level": level, "message": message, **_fields(record)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class TextLineFormatter(logging.Formatter):
    """Writes a record as text, followed by its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        message = _CONTROL.sub(lambda found: repr(found[0])[1:-1], record.getMessage())
        fields = [field for field in _fields(record).items() if field[0] not in _IN_THE_MESSAGE]
        words = [f"{name}={_word(value)}" for name, value in fields]
        line = " ".join([_time(record), record.levelname, message, *words])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _word(value: object) -> str:
    text = ",".join(value) if isinstance(value, list) else str(value)
    return text if re.fullmatch(r"[\w.:/,+@-]+", text, re.ASCII) else json.dumps(text)


class StreamHandler(logging.StreamHandler[TextIO]):
    """Drops lines instead of waiting, when the stream is a pipe that nobody reads.

    To wait would stop all greenlets of a worker. The next line that is written counts the dropped.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = self.format(record) + self.terminator
            if self._dropped and self._write(f"{self._dropped} log lines were dropped\n"):
                self._dropped = 0
            if self._dropped or not self._write(line):
                self._dropped += 1
        except Exception:
            self.handleError(record)

    _dropped = 0

    def _write(self, text: str) -> bool:
        for start in range(0, len(text), _ATOMIC_CHARACTERS):
            if _can_write(self.stream):
                self.stream.write(text[start : start + _ATOMIC_CHARACTERS])
                self.stream.flush()
            elif not start:
                return False
        return True


def _can_write(stream: TextIO) -> bool:
    """Tell whether a stream takes PIPE_BUF bytes at once."""
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError):  # a stream of a test has none
        return True
    poll = get_original("select", "poll")()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


def configure(format: str | None, logconfig: str | None) -> None:
    """Write the logs of this package to stderr, unless the operator has configured them.

    That is by a file ``logconfig``, or by handlers that exist already. ``format`` is json or text;
    None is text in a terminal and JSON elsewhere.
    """
    logger = logging.getLogger("dcproxy")
    for handler in [*filter(is_ours, logger.handlers)]:
        logger.removeHandler(handler)
        logger.propagate = True
    if logconfig or logger.hasHandlers():
        return
    is_json = format == "json" if format else not sys.stderr.isatty()
    handler = StreamHandler()
    handler.setFormatter(JsonLineFormatter() if is_json else TextLineFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def is_ours(handler: logging.Handler) -> bool:
    """Tell whether ``configure`` made a handler."""
    return isinstance(handler.formatter, JsonLineFormatter | TextLineFormatter)


class GunicornLog(gunicorn.glogging.Logger):  # type: ignore[misc]
    """gunicorn's log, in the format of ours and without waiting for a pipe that nobody reads."""

    def setup(self, cfg: Any) -> None:
        """Set up all handlers, in the format of the application's where that has one."""
        super().setup(cfg)
        for handler in filter(is_ours, logging.getLogger("dcproxy").handlers):
            for gunicorns in self.error_log.handlers:
                gunicorns.setFormatter(handler.formatter)

    def _set_handler(self, log: Any, output: Any, fmt: Any, stream: Any = None) -> None:
        super()._set_handler(log, None if output == "-" else output, fmt)
        if output == "-":
            handler = StreamHandler(stream)
            handler.setFormatter(fmt)
            handler._gunicorn = True  # type: ignore[attr-defined]
            log.addHandler(handler)

    def reopen_files(self) -> None:
        """Reopen the log files, unless one of them cannot be opened."""
        handlers = [handler for log in gunicorn.glogging.loggers() for handler in log.handlers]
        try:
            for handler in handlers:
                if isinstance(handler, logging.FileHandler):
                    gunicorn.util.check_is_writable(handler.baseFilename)
        except RuntimeError as error:
            self.error("the log files were not reopened: %s", error)
        else:
            super().reopen_files()


# gunicorn quotes what it cannot parse of a request: it may hold a secret or a query.
_QUOTED_REQUEST = re.compile(r"(Invalid request from ip=\S+ [^:'\"]*).*", re.DOTALL)


def without_request(record: logging.LogRecord) -> bool:
    """Keep the text of malformed requests, and the queries of others, out of gunicorn's log."""
    record.msg = _QUOTED_REQUEST.sub(r"\1", str(record.msg))
    if record.msg.startswith("Error handling request") and isinstance(record.args, tuple):
        record.args = tuple(str(arg).partition("?")[0] for arg in record.args)
    return True


def without_credentials(record: logging.LogRecord) -> bool:
    """Keep key ids and the header ``Authorization`` out of gunicorn's access log."""
    # The values for the format of the operator (gunicorn.glogging.Logger.atoms).
    if isinstance(record.args, dict):
        user = str(record.args.get("u", "-"))[-4:]
        record.args |= {"u": user, "{authorization}i": "-", "{http_authorization}e": "-"}
    return True
