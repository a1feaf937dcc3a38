"""Published architectures by name; their data files are in `architectures/`.

Each file is a part of a recipe: the model, its loss, and how images and texts are prepared. Sizes that must
agree are stated once, in the model.
"""

import tomllib
from importlib.resources import files
from typing import Any

from diptych_training.errors import TrainingConfigError
from diptych_training.models.config import ModelConfig

Table = dict[str, Any]
FOLDER = files(__package__) / "architectures"
NAME_KEY = "architecture"


def architecture_names() -> list[str]:
    """All names, as open_clip writes them; OpenAI's own ("ViT-L/14@336px") are accepted too."""
    return sorted(file.name.removesuffix(".toml") for file in FOLDER.iterdir() if file.name.endswith(".toml"))


def read_architecture(name: str) -> Table:
    """Return the part of a recipe that a name stands for. Raises TrainingConfigError listing the known
    names.
    """
    plain = name.replace("/", "-").replace("@", "-").removesuffix("px")
    names = architecture_names()
    if plain not in names:
        raise TrainingConfigError(f"model: unknown architecture {name!r}; known: {', '.join(names)}")
    return tomllib.loads((FOLDER / f"{plain}.toml").read_text(encoding="utf-8"))


def named_config(name: str) -> ModelConfig:
    """Return the architecture alone. Raises TrainingConfigError for an unknown name."""
    return ModelConfig.model_validate(read_architecture(name)["model"])


def resolve_architecture(recipe: Table) -> Table:
    """Replace `model.architecture` of a recipe by the tables that it stands for; the recipe's own keys win.

    `preprocess.size` and `text.context_length` follow the model unless the recipe sets them. Raises
    TrainingConfigError for an unknown name.
    """
    model = recipe.get("model")
    if not isinstance(model, dict) or NAME_KEY not in model:
        return recipe
    own = {key: value for key, value in model.items() if key != NAME_KEY}
    merged = _merge(read_architecture(str(model[NAME_KEY])), {**recipe, "model": own})
    _follow(merged, "preprocess", "size", merged["model"].get("image_size"))
    text = merged["model"].get("text")
    _follow(merged, "text", "context_length", text.get("context_length") if isinstance(text, dict) else None)
    return merged


def _follow(recipe: Table, table: str, key: str, value: object) -> None:
    """Set the default of a key. Invalid tables are left unchanged: validation reports them."""
    if isinstance(recipe[table], dict) and value is not None:
        recipe[table].setdefault(key, value)


def _merge(base: Table, over: Table) -> Table:
    """Merge tables and replace other values; a tower of another kind replaces the whole tower."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and _same_kind(below, value):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _same_kind(below: Table, over: Table) -> bool:
    return bool(over.get("kind", below.get("kind")) == below.get("kind"))
