"""Read a Dockerfile: its stages, and all steps of a target. Builds nothing, knows no instruction by name."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """`RUN echo x` -> word `RUN`, rest `echo x`; continued lines are one."""

    word: str
    rest: str


@dataclass(frozen=True)
class Stage:
    """What it starts from (another stage, or an image), and what it adds."""

    base: str
    steps: tuple[Step, ...]


def stages(file: Path) -> dict[str, Stage]:
    """By name, in the file's order; the name of a stage that has none is empty."""
    found: dict[str, Stage] = {}
    name = None
    for step in _steps(file):
        if step.word == "FROM":
            base, _, name = step.rest.partition(" AS ")
            found[name] = Stage(base, ())
        elif name is not None:
            found[name] = Stage(found[name].base, (*found[name].steps, step))
    return found


def steps_of(file: Path, target: str) -> list[Step]:
    """Of the target's stage and of those that it starts from, the first one first."""
    all_stages = stages(file)
    steps: list[Step] = []
    name: str | None = target
    while name is not None and name in all_stages:
        steps = [*all_stages[name].steps, *steps]
        name = all_stages[name].base or None
    return steps


def rests(steps: list[Step], word: str) -> list[str]:
    """What stands after each `word`."""
    return [step.rest for step in steps if step.word == word]


def environment(steps: list[Step]) -> dict[str, str]:
    """The variables that the steps set, without quotes."""
    pairs = (pair for rest in rests(steps, "ENV") for pair in rest.split())
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def arguments(file: Path) -> dict[str, str]:
    """Defaults of the build's arguments, wherever they stand."""
    return {name: value for name, _, value in (rest.partition("=") for rest in rests(_steps(file), "ARG"))}


def _steps(file: Path) -> list[Step]:
    text = re.sub(r"^#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return [Step(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]
