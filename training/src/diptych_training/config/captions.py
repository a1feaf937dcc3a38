"""Which text of an item a step shows (`data.captions`); draws nothing."""

from pydantic import PositiveInt, model_validator

from diptych_training.config.numbers import Probability, Share
from diptych_training.models.frozen import Frozen


class CaptionConfig(Frozen):
    """Which of an item's texts a step shows, as relative weights.

    `label` alone; `label_keywords` is the label and up to `max_keywords` of its keywords, shuffled; `caption`
    is one of the item's further captions. A `template` is put around the text with `template_probability`.
    """

    label: Share = 0.5
    label_keywords: Share = 0.25
    caption: Share = 0.25
    max_keywords: PositiveInt = 3
    template_probability: Probability = 0.0
    templates: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "CaptionConfig":
        if self.label <= 0:
            raise ValueError("label must be positive: some items have nothing else")
        if self.template_probability and not self.templates:
            raise ValueError("template_probability is set, but templates is empty")
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"template {template!r} must have exactly one {{}}")
        return self
