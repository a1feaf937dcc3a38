"""Check that a recipe goes on with the model that it starts from; knows nothing of weights."""

from pydantic import BaseModel

from diptych.bundle.manifest import TextSpec
from diptych_training.config import TrainConfig
from diptych_training.errors import TrainingConfigError
from diptych_training.finetune.origin import Origin
from diptych_training.models import ModelConfig

FREE = {
    "model.image_size",
    "text.prompts",
}  # what a recipe may say otherwise; images may be prepared in any way


def check_start(config: TrainConfig, origin: Origin) -> None:
    """Raises TrainingConfigError naming the key in which the recipe contradicts its start."""
    for table, kind, ours in (("model", ModelConfig, config.model), ("text", TextSpec, config.text)):
        if table not in origin.tables:
            continue  # it does not say: its weights will
        for key in _differing(kind.model_validate(origin.tables[table]), ours, table):
            if key not in FREE:
                whose = f"{origin.title}, which the run starts from"
                raise TrainingConfigError(f"{key} is not that of {whose}: leave it out of the recipe")


def _differing(theirs: BaseModel, ours: BaseModel, prefix: str) -> list[str]:
    """Keys, with their tables, whose values differ; a table of another kind differs as a whole."""
    found = []
    for key, value in ours:
        before, path = getattr(theirs, key), f"{prefix}.{key}"
        if isinstance(value, BaseModel) and type(value) is type(before):
            found += _differing(before, value, path)
        elif value != before:
            found.append(path)
    return found
