"""How log lines look: text on a terminal, else one JSON object a line. Knows nothing of what is logged.

A line that is written while a request is worked on has its id.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from diptych.http.context import current_request_id

LogFormat = Literal["auto", "text", "json"]


class JsonLines(logging.Formatter):
    """One object per record; `fields` given as extra stand beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """`time level message key=value ...`, tracebacks below."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        words = [_time(record)[11:23], record.levelname.lower(), record.getMessage()]
        line = " ".join([*words, *(f"{key}={value}" for key, value in _fields(record).items())])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(log_format: LogFormat) -> None:
    """Send everything to stderr in one format; the chatter of libraries is left out."""
    text = sys.stderr.isatty() if log_format == "auto" else log_format == "text"
    handler = logging.StreamHandler()
    handler.setFormatter(TextLines() if text else JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # its warnings are of requests that we log ourselves
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # the caller is told, as a 400


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    request_id = current_request_id()  # a line is formatted where it is written
    return fields if request_id is None else {"request_id": request_id} | fields


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
