"""Refuse a query string that says one thing twice. Knows no parameter: no call takes one more than once."""

from collections import Counter

from fastapi import Request

from diptych.errors import InvalidValue


async def refuse_repeated(request: Request) -> None:
    """InvalidValue naming the parameter: which of its values is meant would be a guess."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, n in counts.items():
        if n > 1:
            raise InvalidValue(f"is there {n} times, once is enough", name[:100])
