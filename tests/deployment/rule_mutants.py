"""Rules that are a little wrong: another window, limit or wait, a word or a condition less. Runs none."""

import re
from collections.abc import Iterator
from typing import Any

Rule = dict[str, Any]
COUNTS = {"DiptychRestarting", "DiptychVersionsDiffer"}  # theirs are whole numbers
WINDOW = re.compile(r"(?<=\[)(\d+)(?=[mh]\])")
NUMBER = re.compile(r"(?<![\w.:\[])\d+(?:\.\d+)?(?![\w.])")
MATCHER = re.compile(r'\w+(?:=~|!~|!=|=)"[^"]*"(?:, )?')
WORDS = re.compile(r'(?<=~")[^"]*\|[^"]*(?=")')


def mutants(rule: Rule) -> Iterator[Rule]:
    """Each differs from the rule in one place."""
    for expression in mutated(rule["expr"], whole=rule.get("alert") in COUNTS):
        yield {**rule, "expr": expression}
    if "for" in rule:
        minutes = int(rule["for"][:-1]) * {"m": 1, "h": 60}[rule["for"][-1]]
        for waits in (minutes - 1, minutes + 1):
            yield {**rule, "for": f"{waits}m"}


def mutated(expression: str, *, whole: bool) -> Iterator[str]:
    """`whole`: of a number of things, so that 2.4 is no other limit than 2."""
    for found in WINDOW.finditer(expression):
        amount = int(found[0])
        step = max(1, amount // 5)
        yield from (_put(expression, found, str(other)) for other in (amount - step, amount + step))
    hidden = re.sub(r'"[^"]*"', lambda quoted: "_" * len(quoted[0]), expression)
    for found in NUMBER.finditer(hidden):
        value = float(found[0])
        others = (value - 1, value + 1) if whole or not value else (value * 0.8, value * 1.2)
        yield from (_put(expression, found, f"{other:g}") for other in others)
    yield from (_put(expression, found, "") for found in MATCHER.finditer(expression))
    for found in WORDS.finditer(expression):
        words = found[0].split("|")
        yield from (
            _put(expression, found, "|".join([*words[:n], *words[n + 1 :]])) for n in range(len(words))
        )


def _put(text: str, found: re.Match[str], instead: str) -> str:
    return text[: found.start()] + instead + text[found.end() :]
