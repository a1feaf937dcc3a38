"""All objectives by name: the table `objective` of a recipe, and what a recipe's objective is built from."""

from diptych_training.objectives.clip import Clip
from diptych_training.objectives.contrastive import Contrastive, LossKind
from diptych_training.objectives.convirt import Convirt, ConvirtConfig
from diptych_training.objectives.siglip import Siglip

ObjectiveConfig = ConvirtConfig


def contrastive_objective(
    config: ObjectiveConfig | None, loss: LossKind, label_smoothing: float
) -> Contrastive:
    """The objective of a recipe with two towers: its `objective`, else what its `loss` names."""
    if isinstance(config, ConvirtConfig):
        return Convirt(config)
    return Siglip() if loss == "sigmoid" else Clip(label_smoothing)
