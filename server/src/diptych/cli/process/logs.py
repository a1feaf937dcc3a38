"""Format log lines: text on a terminal, otherwise one JSON object per line.

A line that is written while a request is processed has the id of the request.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from diptych.http.context import current_request_id

LogFormat = Literal["auto", "text", "json"]


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object. The extra `fields` become keys next to the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
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
    """Formats a record as `time level message key=value ...`, with a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        words = [_time(record)[11:23], record.levelname.lower(), record.getMessage()]
        line = " ".join([*words, *(f"{key}={value}" for key, value in _fields(record).items())])
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(log_format: LogFormat) -> None:
    """Log everything to stderr in one format, without the routine messages of libraries."""
    text = sys.stderr.isatty() if log_format == "auto" else log_format == "text"
    handler = logging.StreamHandler()
    handler.setFormatter(TextLines() if text else JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(
        logging.ERROR
    )  # its warnings are about requests, which the access log has
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # the caller gets a 400


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    request_id = current_request_id()  # works since a line is formatted where it is written
    return fields if request_id is None else {"request_id": request_id} | fields


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
