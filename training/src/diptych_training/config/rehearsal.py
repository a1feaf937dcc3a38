"""Old data that is mixed into the batches of new (`data.rehearsal`); opens nothing."""

from pydantic import Field

from diptych_training.config.numbers import Share
from diptych_training.models.frozen import Frozen


class RehearsalConfig(Frozen):
    """Another packed data set, whose training part gives a `share` of every batch, rounded to whole items.

    `data` is its folder. `mixture` and `source_weights` say of it what the recipe's own say of `--data`; left
    out, its kinds are as likely as one another.
    """

    data: str = Field(min_length=1)
    share: float = Field(default=0.5, gt=0, lt=1)
    mixture: dict[str, Share] | None = Field(default=None, min_length=1)
    source_weights: dict[str, Share] = Field(default={})
