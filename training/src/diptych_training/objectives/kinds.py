"""All objectives by name: the table `objective` of a recipe, and how each is built."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from diptych_training.models import ModelConfig
from diptych_training.models.config import grid_width
from diptych_training.objectives.bag_of_words import BagOfWords, BagOfWordsConfig
from diptych_training.objectives.clip import Clip
from diptych_training.objectives.contrastive import Contrastive, LossKind
from diptych_training.objectives.convirt import Convirt, ConvirtConfig
from diptych_training.objectives.icmlm import Icmlm, IcmlmConfig
from diptych_training.objectives.predictive import Predictive
from diptych_training.objectives.siglip import Siglip
from diptych_training.objectives.static_softmax import StaticSoftmax, StaticSoftmaxConfig
from diptych_training.objectives.virtex import Virtex, VirtexConfig
from diptych_training.objectives.visual_ngrams import VisualNgrams, VisualNgramsConfig
from diptych_training.objectives.words import Captions

PredictiveConfig = BagOfWordsConfig | StaticSoftmaxConfig | VisualNgramsConfig | VirtexConfig | IcmlmConfig
ObjectiveConfig = Annotated[ConvirtConfig | PredictiveConfig, Field(discriminator="kind")]


def objective_version(config: ObjectiveConfig | None, loss: LossKind) -> str:
    """The name of the objective with the version of its code, which says whether results are of this code."""
    if config is not None:
        return f"{config.kind}/{config.version}"
    return f"siglip/{Siglip.version}" if loss == "sigmoid" else f"clip/{Clip.version}"


def contrastive_objective(
    config: ConvirtConfig | PredictiveConfig | None, loss: LossKind, label_smoothing: float
) -> Contrastive:
    """The objective of a recipe with two towers: its `objective`, else what its `loss` names."""
    if isinstance(config, ConvirtConfig):
        return Convirt(config)
    return Siglip() if loss == "sigmoid" else Clip(label_smoothing)


def predictive_objective(
    config: PredictiveConfig, model: ModelConfig, captions: Captions, dictionary: Mapping[str, int]
) -> Predictive:
    """The objective of a recipe without a text tower, with fresh weights. `dictionary` has its entries, and
    how often each occurs in the data, which bag of words alone may need.
    """
    if isinstance(config, BagOfWordsConfig):
        return BagOfWords(config, model.embed_dim, captions, dictionary)
    if isinstance(config, StaticSoftmaxConfig):
        return StaticSoftmax(config, model.embed_dim, captions, tuple(dictionary))
    if isinstance(config, VisualNgramsConfig):
        return VisualNgrams(config, model.embed_dim, captions, tuple(dictionary))
    if isinstance(config, VirtexConfig):
        return Virtex(config, grid_width(model.image), captions)
    return Icmlm(config, grid_width(model.image), captions)
