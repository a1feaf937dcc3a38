"""Spell where in a JSON text something stands: `input[3].text`. Knows no schema."""

from collections.abc import Sequence

MAX_KEY_CHARS = 100  # keys are the caller's, may be megabytes long, and are repeated in the answer
MAX_PATH_CHARS = 300


def spelled(steps: Sequence[int | str]) -> str:
    """Keys and indexes from the outside inwards as one path; long ones are cut."""
    path = ""
    for step in steps:
        key = f"[{step}]" if isinstance(step, int) else cut(step, MAX_KEY_CHARS)
        path += f".{key}" if path and isinstance(step, str) else key
        if len(path) > MAX_PATH_CHARS:
            break
    return cut(path, MAX_PATH_CHARS)


def cut(text: str, max_chars: int) -> str:
    """The text, or its beginning and three dots."""
    return text if len(text) <= max_chars else f"{text[:max_chars]}..."
