"""Sample captions as token ids, assembled from texts that are tokenised once."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import TextTokenizer, clean
from diptych_training.config import CaptionConfig
from diptych_training.data.label_key import label_key
from diptych_training.errors import DataError
from diptych_training.paths import expanded

Ids = NDArray[np.int32]
KEYWORD_SEPARATOR = ","


class Captioned(Protocol):
    """The texts of one image."""

    @property
    def label(self) -> str:
        """The caption that evaluation uses as its class text."""
        ...

    @property
    def keywords(self) -> Sequence[str]:
        """Words that may follow the label, in any order."""
        ...

    @property
    def captions(self) -> Sequence[str]:
        """Further captions, complete in themselves."""
        ...


def all_texts(items: Iterable[Captioned]) -> Iterator[str]:
    """Every text of every item, for training a tokenizer."""
    for item in items:
        yield item.label
        yield from item.keywords
        yield from item.captions


def read_synonyms(file: Path) -> dict[str, tuple[str, ...]]:
    """Read a text and its synonyms a line, separated by tabs. DataError if there is no such file."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"data.captions.synonyms: {file} cannot be read ({error}): `diptych-train data wordnet` writes "
            "such a file"
        ) from error
    rows = (line.split("\t") for line in lines)
    return {text: tuple(synonyms) for text, *synonyms in rows}


def caption_key(text: str, tokenizer: TextTokenizer, spec: TextSpec) -> bytes:
    """What is equal for captions of one label: see `label_key`. A caption that is cut off equals those of the
    same ids only.
    """
    ids, is_cut_off = tokenizer.ids(text)
    return (ids if is_cut_off else tokenizer.ids(label_key(clean(text, spec.clean)))[0]).tobytes()


class CaptionSampler:
    """Samples a caption for an item, with the weights of `CaptionConfig`.

    No token spans a space, so a caption's ids are the concatenation of its pieces' ids. Each text is
    tokenised once, here; a step only joins arrays. Where punctuation meets punctuation without a space
    ("help!" before the separator), tokenising the whole caption might give other ids.
    """

    def __init__(
        self, items: Sequence[Captioned], tokenizer: TextTokenizer, config: CaptionConfig, spec: TextSpec
    ) -> None:
        self._config = config
        self._max_pieces_length = spec.context_length - 2
        pieces = _Pieces(tokenizer)
        self._start, self._end = pieces.frame
        self._separator = pieces.ids(KEYWORD_SEPARATOR)
        halves = [template.split("{}") for template in config.templates]
        self._templates = [(pieces.ids(before), pieces.ids(after)) for before, after in halves]
        self._labels = [pieces.ids(item.label) for item in items]
        self._keywords = [[pieces.ids(text) for text in item.keywords] for item in items]
        synonyms = {} if config.synonyms is None else read_synonyms(expanded(config.synonyms))
        self._captions = [
            [pieces.ids(text) for text in (*item.captions, *synonyms.get(item.label, ()))] for item in items
        ]
        self._keys = {
            tokenizer.ids(text)[0].tobytes(): caption_key(text, tokenizer, spec)
            for text in pieces.texts
            if label_key(text) != text
        }
        weights = np.array([config.label, config.label_keywords, config.caption, config.keyword])
        self._thresholds = np.cumsum(weights / weights.sum())

    def key(self, ids: Ids) -> bytes:
        """What is equal for sampled captions of one label, as `caption_key`. Texts in a template, or with
        keywords, equal those of the same ids only.
        """
        found = ids.tobytes()
        return self._keys.get(found, found)

    def sample(self, index: int, rng: np.random.Generator) -> Ids:
        """The (L,) ids of a caption for item `index`, start and end included, L <= context_length."""
        pieces = self._pieces(index, rng)
        if self._templates and rng.random() < self._config.template_probability:
            before, after = self._templates[rng.integers(len(self._templates))]
            pieces = [before, *pieces, after]
        body = np.concatenate(pieces)[: self._max_pieces_length]
        return np.concatenate([self._start, body, self._end])

    def _pieces(self, index: int, rng: np.random.Generator) -> list[Ids]:
        kind = int(np.searchsorted(self._thresholds, rng.random(), side="right"))
        label, keywords, captions = self._labels[index], self._keywords[index], self._captions[index]
        if kind == 1 and keywords:
            return self._with_keywords(label, keywords, rng)
        if kind == 2 and captions:
            return [captions[rng.integers(len(captions))]]
        if kind == 3 and keywords:
            return [keywords[rng.integers(len(keywords))]]
        return [label]

    def _with_keywords(self, label: Ids, keywords: list[Ids], rng: np.random.Generator) -> list[Ids]:
        n_keywords = min(len(keywords), int(rng.integers(1, self._config.max_keywords + 1)))
        pieces = [label]
        for chosen in rng.permutation(len(keywords))[:n_keywords]:
            pieces += [self._separator, keywords[chosen]]
        return pieces


class _Pieces:
    """Ids of texts without start and end, each text tokenised once however often it occurs."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, Ids] = {}
        framed, _ = tokenizer.ids("")
        self.frame = framed[:1], framed[1:]

    @property
    def texts(self) -> Iterable[str]:
        """All texts whose ids were asked for."""
        return self._known

    def ids(self, text: str) -> Ids:
        """(L,) ids, possibly none."""
        found = self._known.get(text)
        if found is None:
            found = self._known[text] = self._tokenizer.ids(text)[0][1:-1]
        return found
