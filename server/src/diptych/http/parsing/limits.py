"""Check limits on counts, lengths and numbers that several endpoints share."""

from collections.abc import Mapping, Sequence, Sized

from diptych.core.limits import Limits
from diptych.errors import InvalidValue, TooLarge


def check_count(items: Sized, name: str, limit: int) -> None:
    """Raises InvalidValue when there are no items, TooLarge when there are more than `limit`."""
    if len(items) == 0:
        raise InvalidValue("at least one is needed", name)
    if len(items) > limit:
        raise TooLarge(f"{len(items)} items, limit is {limit}", name)


def check_lengths(data: object, limits: Mapping[str, int]) -> object:
    """Return the parsed JSON. Raises TooLarge when the list under one of the names is longer than its limit.

    Call it before validation walks the lists: a small body may hold millions of elements.
    """
    if isinstance(data, dict):
        for name, limit in limits.items():
            value = data.get(name)
            if isinstance(value, list) and len(value) > limit:
                raise TooLarge(f"{len(value)} items, limit is {limit}", name)
    return data


def check_text(text: str, item: str, limits: Limits) -> str:
    """Return the text. Raises TooLarge when it has too many characters."""
    if len(text) > limits.max_text_chars:
        raise TooLarge(f"text has {len(text)} characters, limit is {limits.max_text_chars}", item)
    return text


def check_query_text(text: str, item: str, limits: Limits) -> str:
    """As check_text; also raises InvalidValue for a text that is empty or blank."""
    if not text.strip():
        raise InvalidValue("text is empty", item)
    return check_text(text, item, limits)


def check_at_most(value: int, name: str, limit: int) -> None:
    """Raises InvalidValue when the value exceeds the limit."""
    if value > limit:
        raise InvalidValue(f"is {value}, limit is {limit}", name)


def check_texts(texts: Sequence[str], name: str, limits: Limits) -> None:
    """Apply check_text to each text."""
    if (
        max(map(len, texts), default=0) <= limits.max_text_chars
    ):  # the common case: a thousand texts in microseconds
        return
    for i, text in enumerate(texts):
        check_text(text, f"{name}[{i}]", limits)
