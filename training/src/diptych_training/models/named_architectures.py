"""Published architectures by their names: data files beside this module; builds nothing.

Each file is a piece of a recipe: the model, the loss it was trained with, and how its images and texts were
prepared. Sizes that must agree stand once, in the model.
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
    """Every name, as open_clip writes them; OpenAI's own ("ViT-L/14@336px") are taken too."""
    return sorted(file.name.removesuffix(".toml") for file in FOLDER.iterdir() if file.name.endswith(".toml"))


def read_architecture(name: str) -> Table:
    """The piece of a recipe that a name stands for. Raises TrainingConfigError listing what there is."""
    plain = name.replace("/", "-").replace("@", "-").removesuffix("px")
    names = architecture_names()
    if plain not in names:
        raise TrainingConfigError(f"model: no architecture {name!r}; there are {', '.join(names)}")
    return tomllib.loads((FOLDER / f"{plain}.toml").read_text(encoding="utf-8"))


def named_config(name: str) -> ModelConfig:
    """The architecture alone. Raises TrainingConfigError for an unknown name."""
    return ModelConfig.model_validate(read_architecture(name)["model"])


def resolve_architecture(recipe: Table) -> Table:
    """A recipe whose `model.architecture` is replaced by what it stands for; the recipe's own keys win.

    `preprocess.size` and `text.context_length` follow the model unless the recipe says them.
    Raises TrainingConfigError for an unknown name.
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
    """A mistake of the recipe is left as it is: validation names it."""
    if isinstance(recipe[table], dict) and value is not None:
        recipe[table].setdefault(key, value)


def _merge(base: Table, over: Table) -> Table:
    """Tables are merged, other values replaced; a tower of another kind replaces the whole tower."""
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
