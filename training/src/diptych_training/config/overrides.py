"""`--set key.path=value`: one key of a recipe's tables changed; knows no key."""

import tomllib
from typing import Any

from diptych_training.errors import TrainingConfigError

Tables = dict[str, Any]


def apply_override(values: Tables, override: str) -> None:
    """Set the key that `override` names. TrainingConfigError unless it is ``key=value`` in tables."""
    key, separator, raw = override.partition("=")
    if not separator or not all(key.strip().split(".")):
        raise TrainingConfigError(f"--set {override!r}: must be key=value, as in run.steps=100")
    *tables, last = key.strip().split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise TrainingConfigError(f"--set {override!r}: {table} is a value, not a table")
    values[last] = _toml_value(raw.strip())


def _toml_value(raw: str) -> Any:
    """A TOML value; what is none is taken as a string, so that names need no quotes in a shell."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw
