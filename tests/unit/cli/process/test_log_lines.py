"""The formats of a log line: text and JSON."""

import json
import logging
import sys

from diptych.cli.process.logs import JsonLines, TextLines


def record(message: str, *, error: bool = False, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("diptych.x", logging.INFO, "", 0, message, (), sys.exc_info() if error else None)
    made.__dict__["fields"] = fields
    return made


def test_json_line_has_the_fields_beside_the_message() -> None:
    line = json.loads(JsonLines().format(record("request", route="/embed", status=200)))
    assert line["time"].endswith("+00:00")
    expected = {
        "level": "info",
        "logger": "diptych.x",
        "message": "request",
        "route": "/embed",
        "status": 200,
    }
    assert expected.items() <= line.items()


def test_text_line_ends_with_the_fields() -> None:
    assert TextLines().format(record("request", status=200)).endswith(" info request status=200")


def test_line_breaks_cannot_forge_a_json_line() -> None:
    assert "\n" not in JsonLines().format(record('a\n{"level": "error"}', name="b\nc"))


def test_traceback_is_kept_in_both() -> None:
    try:
        raise ValueError("why")
    except ValueError:
        made = record("failed", error=True)
    assert "ValueError: why" in json.loads(JsonLines().format(made))["exception"]
    assert "ValueError: why" in TextLines().format(made)
