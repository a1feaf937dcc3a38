"""What a run learns from (`data`); knows nothing of how it is stored."""

from pydantic import Field

from diptych_training.config.captions import CaptionConfig
from diptych_training.config.numbers import Share
from diptych_training.config.pairs import PairsConfig
from diptych_training.config.rehearsal import RehearsalConfig
from diptych_training.models.frozen import Frozen


class DataConfig(Frozen):
    """What is learned from: relative weights of kinds of sources, and of single sources within their kind;
    or `pairs`. Without a `mixture` all kinds are as likely as one another. `rehearsal` names further data
    sets that each batch has a share of."""

    pairs: PairsConfig | None = None
    mixture: dict[str, Share] = Field(default={"emoji": 1.0, "icons": 1.0}, min_length=1)
    source_weights: dict[str, Share] = Field(default={})
    captions: CaptionConfig = CaptionConfig()
    rehearsal: dict[str, RehearsalConfig] = Field(default={})
