"""The built-in prompt sets: named lists of templates, such as "a photo of a {}", that every model has."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from diptych.errors import InvalidValue

Templates = tuple[str, ...]  # each with one {} for the label


def prompt_set(name: str) -> Templates:
    """The built-in set of this name. Raises InvalidValue naming the available ones."""
    if name not in _built_in():
        known = ", ".join(_built_in())
        raise InvalidValue(f"there is no built-in template set {name[:100]!r}; there is: {known}")
    return _built_in()[name]


def with_built_in(own: Mapping[str, list[str]]) -> dict[str, Templates]:
    """A bundle's own sets, then the built-in ones whose names it does not use."""
    sets = {name: tuple(templates) for name, templates in own.items()}
    return sets | {name: templates for name, templates in _built_in().items() if name not in sets}


@cache
def _built_in() -> Mapping[str, Templates]:
    text = resources.files("diptych.bundle").joinpath("prompts.toml").read_text(encoding="utf-8")
    return {name: tuple(templates) for name, templates in tomllib.loads(text).items()}
