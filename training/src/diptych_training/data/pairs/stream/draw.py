"""Draw one of a pair's texts, as `CaptionConfig` weighs them; knows nothing of tokens.

`data.captions` does the same for sets whose texts are all known beforehand, and tokenised once.
"""

import numpy as np

from diptych_training.config import CaptionConfig
from diptych_training.data.captions import KEYWORD_SEPARATOR
from diptych_training.data.pairs.pair import Texts


class TextDrawer:
    """Draws as the configuration says. Without a label, each caption is as likely as the others."""

    def __init__(self, config: CaptionConfig) -> None:
        self._config = config
        weights = np.array([config.label, config.label_keywords, config.caption], dtype=np.float64)
        self._thresholds = np.cumsum(weights / weights.sum())

    def draw(self, texts: Texts, rng: np.random.Generator) -> str:
        """One text, in a template if the configuration's chance says so."""
        text = self._text(texts, rng)
        if self._config.templates and rng.random() < self._config.template_probability:
            before, after = self._config.templates[rng.integers(len(self._config.templates))].split("{}")
            return f"{before}{text}{after}"
        return text

    def _text(self, texts: Texts, rng: np.random.Generator) -> str:
        if texts.label is None:
            return texts.captions[rng.integers(len(texts.captions))]
        kind = int(np.searchsorted(self._thresholds, rng.random(), side="right"))
        if kind == 1 and texts.keywords:
            n_keywords = min(len(texts.keywords), int(rng.integers(1, self._config.max_keywords + 1)))
            chosen = rng.permutation(len(texts.keywords))[:n_keywords]
            return f"{KEYWORD_SEPARATOR} ".join([texts.label, *(texts.keywords[index] for index in chosen)])
        if kind == 2 and texts.captions:
            return texts.captions[rng.integers(len(texts.captions))]
        return texts.label
