"""Reading recipes from TOML with overrides, and writing them."""

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from diptych_training.config.explain import explain
from diptych_training.config.recipe import TrainConfig
from diptych_training.config.start import StartConfig
from diptych_training.errors import TrainingConfigError
from diptych_training.models.named_architectures import NAME_KEY, resolve_architecture
from diptych_training.paths import shipped_recipes
from diptych_training.schema import Tables


def read_config(
    path: Path,
    overrides: Sequence[str] = (),
    name: str | None = None,
    start: str | None = None,
    start_tables: Callable[[Tables], Tables] | None = None,
) -> TrainConfig:
    """Read a TOML recipe; `overrides` are ``key.path=value`` with TOML values, `name` is taken as it is.

    `model` may be the name of an architecture (`diptych-train models`), or a table with that name as
    `architecture` and whatever differs from it.

    `start` replaces the `start` of the recipe. `start_tables` returns the tables of the model that a recipe
    starts from; the recipe's own keys win over them. If an override shortens `run.steps` below the recipe's
    warm-up, that warm-up is dropped. Raises TrainingConfigError naming file and key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingConfigError(f"{path}: no such recipe{_shipped_hint(path)}") from error
    except OSError as error:
        raise TrainingConfigError(f"{path}: cannot read the recipe: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingConfigError(f"{path}: not TOML: {error}") from error
    _expand_model_name(values)
    for override in overrides:
        apply_override(values, override)
        _expand_model_name(values)
    _drop_long_warmup(values, overrides)
    if name is not None:
        values["name"] = name
    if start is not None:
        values["start"] = start
    try:
        if start_tables is not None and "start" in values:
            values = _merge_with_start(start_tables(values), values)
        values = resolve_architecture(values)
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise TrainingConfigError(f"{path}: {explain(error, values, root=TrainConfig)}") from error


def _shipped_hint(path: Path) -> str:
    return "" if path.suffix else f"; shipped recipes: {', '.join(shipped_recipes())}"


def start_of(recipe: Tables) -> StartConfig:
    """Read the `start` of a recipe's tables. Raises TrainingConfigError naming the key."""
    try:
        return StartConfig.model_validate(recipe["start"])
    except ValidationError as error:
        raise TrainingConfigError(explain(error, recipe, "start", root=TrainConfig)) from error


def model_tables(config: TrainConfig) -> Tables:
    """The tables of a recipe that describe a model, and its loss."""
    tables = {
        table: getattr(config, table).model_dump(mode="json", exclude_none=True)
        for table in ("model", "preprocess", "text")
    }
    return {"loss": config.loss, **tables}


def dump_config(config: TrainConfig) -> str:
    """The recipe as TOML, with defaults written out; keys whose value is None are left out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _expand_model_name(values: Tables) -> None:
    """Replace `model = "NAME"` by the table that it is short for, so that single keys can be changed."""
    if isinstance(values.get("model"), str):
        values["model"] = {NAME_KEY: values["model"]}


def _drop_long_warmup(values: Tables, overrides: Sequence[str]) -> None:
    """Drop the recipe's warm-up if an override sets fewer steps than it."""
    changed = {override.partition("=")[0].strip() for override in overrides}
    run, optim = values.get("run"), values.get("optim")
    if "run.steps" not in changed or not isinstance(run, dict) or not isinstance(optim, dict):
        return
    steps, warmup = run.get("steps"), optim.get("warmup_steps")
    is_long = isinstance(steps, int) and isinstance(warmup, int) and warmup > steps
    if is_long and "optim.warmup_steps" not in changed:
        del optim["warmup_steps"]


def _merge_with_start(lower: Tables, recipe: Tables) -> Tables:
    """The recipe's own keys, else those of its start, else those of the architecture that it names.

    The model that it names must be that of the start; this is checked when both are known.
    """
    named = resolve_architecture(recipe)
    merged = _merge_tables(_merge_tables(named, lower), recipe)
    if isinstance(named.get("model"), dict):
        merged["model"] = _merge_tables(lower.get("model", {}), named["model"])
    return merged


def _merge_tables(lower: Tables, upper: Tables) -> Tables:
    """Merge two tables key by key; if both have a value that is not a table, the upper one wins."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        is_both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merge_tables(below, value) if is_both else value  # type: ignore[arg-type]
    return merged


def apply_override(values: Tables, override: str) -> None:
    """Set the key that `override` names. Raises TrainingConfigError unless it has the form ``key=value``."""
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
    """Parse a TOML value; anything else is taken as a string, so that names need no quotes in a shell."""
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw
