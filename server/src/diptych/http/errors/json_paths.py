"""Format paths into a JSON value, such as `input[3].text`."""

from collections.abc import Sequence

MAX_KEY_CHARS = 100  # keys come from the client, may be megabytes long, and are repeated in the response
MAX_PATH_CHARS = 300


def format_path(steps: Sequence[int | str]) -> str:
    """Join keys and indexes, outermost first, into one path. Long keys and long paths are cut."""
    path = ""
    for step in steps:
        key = f"[{step}]" if isinstance(step, int) else cut(step, MAX_KEY_CHARS)
        path += f".{key}" if path and isinstance(step, str) else key
        if len(path) > MAX_PATH_CHARS:
            break
    return cut(path, MAX_PATH_CHARS)


def cut(text: str, max_chars: int) -> str:
    """The text; if it is too long, its beginning and three dots."""
    return text if len(text) <= max_chars else f"{text[:max_chars]}..."
