"""Validation errors of a recipe as one line: each key, its value, and what it must be."""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from diptych_training.schema import KEY, VALUE, Tables, leaf_types

LONGEST_VALUE = 60  # characters
REPLACEMENTS = (  # patterns in messages of pydantic, and plain words for recipes
    (r"^Value error, ", ""),
    (r"^(Input|String|Tuple|List) should", "must"),
    (r"a valid dictionary( or instance of \w+| or object to extract fields from)?", "a table"),
    (r"a valid (tuple|list)", "a list"),
    (r"a valid boolean(, .*)?", "true or false"),
    (r"a valid integer(, .*)?", "a whole number"),
    (r"a valid number(, .*)?", "a number"),
    (r"a valid string", "a text"),
    (r" after validation", ""),
)
Details = Mapping[str, Any]
Location = tuple[str | int, ...]


def explain(
    error: ValidationError, recipe: Tables, table: str | None = None, *, root: type[BaseModel]
) -> str:
    """Describe all validation errors of `recipe`, or of one table of it.

    `root` is the model of a whole recipe: its keys are suggested for unknown ones.
    """
    found: list[Any] = error.errors(include_url=False)
    return "; ".join(_describe(item, recipe, () if table is None else (table,), root) for item in found)


def _describe(item: Details, recipe: Tables, within: Location, root: type[BaseModel]) -> str:
    kind, context, message = item["type"], item.get("ctx", {}), _plain_english(item["msg"])
    place = (*within, *item["loc"])
    if KEY in context:  # an error of a table about one of its keys
        return f"{_key((*place, context[KEY]), recipe)} is {format_value(context[VALUE])}: {message}"
    key = _key(place, recipe, is_missing=kind == "missing")
    if kind == "extra_forbidden":
        return f"{key}: unknown key{_suggestion(place, root)}"
    if kind in _MESSAGES:
        return f"{key}{_MESSAGES[kind].format(**context)}"
    if not key:  # an error across tables: its message names the keys
        return message
    value = item["input"]
    return f"{key}: {message}" if isinstance(value, Mapping) else f"{key} is {format_value(value)}: {message}"


_MESSAGES = {
    "missing": " is missing",
    "union_tag_not_found": ".kind is missing",
    "union_tag_invalid": '.kind is "{tag}": must be one of {expected_tags}',
}


def _suggestion(location: Location, root: type[BaseModel]) -> str:
    """The most similar known key, or all keys of the table."""
    known = sorted({key for table in _tables_at(location[:-1], root) for key in table.model_fields})
    nearest = get_close_matches(str(location[-1]), known, n=1, cutoff=0.7)
    if nearest:
        return f"; did you mean {nearest[0]}?"
    return f"; known keys: {', '.join(known)}"


def _tables_at(location: Location, root: type[BaseModel]) -> list[type[BaseModel]]:
    """The possible tables at a location; the kind of a tower narrows them."""
    tables = [root]
    for part in location:
        fields = [table.model_fields[part] for table in tables if part in table.model_fields]
        if fields:
            found = {one for field in fields for one in leaf_types(field.annotation)}
            tables = [one for one in found if isinstance(one, type) and issubclass(one, BaseModel)]
        else:  # a name, a number in a list, or a kind
            of_kind = [one for one in tables if _kind_of(one) == part]
            tables = of_kind or tables
    return tables


def _kind_of(table: type[BaseModel]) -> object:
    return table.model_fields["kind"].default if "kind" in table.model_fields else None


def _key(location: Location, recipe: Tables, *, is_missing: bool = False) -> str:
    """The key as the recipe writes it, without the tower kind that validation inserts."""
    path: list[str] = []
    at: Any = recipe
    for index, part in enumerate(location):
        is_there = not isinstance(at, Mapping) or part in at
        if is_there or (is_missing and index == len(location) - 1):
            path.append(str(part))
            at = at[part] if isinstance(at, Mapping) and is_there else None
    return ".".join(path)


def _plain_english(message: str) -> str:
    for foreign, own in REPLACEMENTS:
        message = re.sub(foreign, own, message)
    return message


def format_value(value: object) -> str:
    """Format a value much like TOML does; long ones are cut off."""
    text = repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
