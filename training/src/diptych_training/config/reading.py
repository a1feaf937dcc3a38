"""A recipe from TOML and back; knows nothing of what it says."""

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

Tables = dict[str, Any]


def read_config(
    path: Path,
    overrides: Sequence[str] = (),
    name: str | None = None,
    start: str | None = None,
    beneath: Callable[[Tables], Tables] | None = None,
) -> TrainConfig:
    """Read a TOML recipe; `overrides` are ``key.path=value`` with TOML values, `name` is taken as it is.

    `model` may be the name of an architecture (`diptych-train models`), or a table with that name as
    `architecture` and whatever differs from it.

    `start` takes the place of the recipe's own. `beneath` gives the tables of the model that a recipe starts
    from: those of the recipe are laid over them, key by key. A warm-up of the recipe that is longer than the
    steps of an override is as if it were left out. Raises TrainingConfigError naming file and key.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingConfigError(f"{path}: no such configuration{_shipped(path)}") from error
    except OSError as error:
        raise TrainingConfigError(f"{path}: no configuration that can be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingConfigError(f"{path}: not TOML: {error}") from error
    _open_name(values)
    for override in overrides:
        apply_override(values, override)
        _open_name(values)
    _leave_long_warmup_open(values, overrides)
    if name is not None:
        values["name"] = name
    if start is not None:
        values["start"] = start
    try:
        if beneath is not None and "start" in values:
            values = _over_start(beneath(values), values)
        values = resolve_architecture(values)
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise TrainingConfigError(f"{path}: {explain(error, values, root=TrainConfig)}") from error


def _shipped(path: Path) -> str:
    return "" if path.suffix else f"; shipped recipes are {', '.join(shipped_recipes())}"


def start_of(recipe: Tables) -> StartConfig:
    """What the tables of a recipe start from. Raises TrainingConfigError naming the key."""
    try:
        return StartConfig.model_validate(recipe["start"])
    except ValidationError as error:
        raise TrainingConfigError(explain(error, recipe, "start", root=TrainConfig)) from error


def model_tables(stated: TrainConfig) -> Tables:
    """What of a recipe says what a model is, and by which loss it learns."""
    tables = {
        table: getattr(stated, table).model_dump(mode="json", exclude_none=True)
        for table in ("model", "preprocess", "text")
    }
    return {"loss": stated.loss, **tables}


def dump_config(config: TrainConfig) -> str:
    """The recipe as TOML, defaults written out; what is None is left out."""
    return tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))


def _open_name(values: Tables) -> None:
    """`model = "NAME"` as the table that it is short for, so that single keys can be changed beside it."""
    if isinstance(values.get("model"), str):
        values["model"] = {NAME_KEY: values["model"]}


def _leave_long_warmup_open(values: Tables, overrides: Sequence[str]) -> None:
    """What a recipe says for its own steps does not refuse fewer of them."""
    changed = {override.partition("=")[0].strip() for override in overrides}
    run, optim = values.get("run"), values.get("optim")
    if "run.steps" not in changed or not isinstance(run, dict) or not isinstance(optim, dict):
        return
    steps, warmup = run.get("steps"), optim.get("warmup_steps")
    is_long = isinstance(steps, int) and isinstance(warmup, int) and warmup > steps
    if is_long and "optim.warmup_steps" not in changed:
        del optim["warmup_steps"]


def _over_start(lower: Tables, recipe: Tables) -> Tables:
    """The recipe's own keys, else those of its start, else those of the architecture that it names.

    A model that it names must be that of the start: this is checked where both are known.
    """
    named = resolve_architecture(recipe)
    merged = _laid_over(_laid_over(named, lower), recipe)
    if isinstance(named.get("model"), dict):
        merged["model"] = _laid_over(lower.get("model", {}), named["model"])
    return merged


def _laid_over(lower: Tables, upper: Tables) -> Tables:
    """Both, key by key; where both have a value that is no table, the upper one."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        is_both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _laid_over(below, value) if is_both else value  # type: ignore[arg-type]
    return merged


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
