"""Make training samples of a stream's entries: pixels and token ids; counts what cannot be used.

Knows nothing of processes or of batches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.preprocess import DecodeMode, ImageLimits, load_pixels
from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych.bundle.text.tokenizer import Ids, TextTokenizer, clean
from diptych.errors import InputError, InvalidValue
from diptych_training.config import CaptionConfig
from diptych_training.data.captions import KEYWORD_SEPARATOR
from diptych_training.data.pairs.image_files import isolated
from diptych_training.data.pairs.pair import Entry, Pair, Texts, Unusable
from diptych_training.data.pairs.stream.order import Cursor, Stream
from diptych_training.errors import DataError

SAMPLES = 3  # what random numbers are for, beside those of `stream`
SHOWN = 40  # characters of a text in a message
ALWAYS_ALLOWED = 10  # entries that a stream may skip before their share counts: a few say nothing


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


@dataclass(frozen=True)
class Place:
    """How far a stream is: where it reads on, how many entries it has read, and how many of them skipped."""

    cursor: Cursor = Cursor(0)  # noqa: RUF009  frozen
    n_read: int = 0
    n_skipped: int = 0

    def numbers(self) -> list[int]:
        """As JSON keeps it."""
        cursor = self.cursor
        return [cursor.epoch, cursor.shard, cursor.entry, cursor.taken, self.n_read, self.n_skipped]


def place_of(numbers: Sequence[int]) -> Place:
    """What `Place.numbers` wrote."""
    epoch, shard, entry, taken, n_read, n_skipped = numbers
    return Place(Cursor(epoch, shard, entry, taken), n_read, n_skipped)


@dataclass(frozen=True)
class Sample:
    """One pair, ready for a batch. `label` is what it shows, cleaned: its label, or else its text."""

    pixels: Pixels  # (S, S, 3)
    input_ids: Ids  # (L,)
    label: str


class Preparer:
    """Turns pairs into samples."""

    def __init__(
        self,
        *,
        image_spec: ImageSpec,
        text_spec: TextSpec,
        tokenizer_file: Path,
        texts: TextDrawer,
        limits: ImageLimits,
        mode: DecodeMode,
    ) -> None:
        self._image_spec = image_spec
        self._text_spec = text_spec
        self._tokenizer = TextTokenizer(tokenizer_file, text_spec)
        self._no_text, _ = self._tokenizer.ids("")
        self._texts = texts
        self._limits = limits
        self._mode: DecodeMode = mode

    def __call__(self, pair: Pair, rng: np.random.Generator) -> Sample:
        """Raises InputError for an image that cannot be decoded within the limits, or an invalid text."""
        text = self._texts.draw(pair.texts, rng)
        ids, _ = self._tokenizer.ids(text)
        if np.array_equal(ids, self._no_text):
            raise InvalidValue(f"nothing is left of its text {text[:SHOWN]!r} once it is cleaned")
        of_label = clean(text if pair.texts.label is None else pair.texts.label, self._text_spec.clean)
        pixels = isolated(load_pixels, pair.image, self._image_spec, self._limits, self._mode)
        return Sample(pixels, ids, of_label)


class Samples:
    """The samples of one stream, in its order; what cannot be used is skipped, within a bound."""

    def __init__(
        self,
        stream: Stream,
        number: int,
        seed: int,
        prepare: Preparer,
        *,
        max_skipped: float,
        excluded: frozenset[str] = frozenset(),
        start: Place = Place(),
    ) -> None:
        self._number = number
        self._seed = seed
        self._prepare = prepare
        self._max_skipped = max_skipped
        self._entries: Iterator[tuple[Entry, Cursor]] = stream.entries(start.cursor, excluded=excluded)
        self.place = start

    def take(self, n: int) -> list[Sample]:
        """The next `n` samples. DataError beyond the bound, naming the last entry that was skipped."""
        rng = np.random.default_rng((self._seed, SAMPLES, self._number, self.place.n_read))
        samples: list[Sample] = []
        while len(samples) < n:
            entry, cursor = next(self._entries)
            made = self._made(entry, rng)
            self.place = Place(
                cursor, self.place.n_read + 1, self.place.n_skipped + isinstance(made, Unusable)
            )
            if isinstance(made, Unusable):
                self._check(made)
            else:
                samples.append(made)
        return samples

    def _made(self, entry: Entry, rng: np.random.Generator) -> Sample | Unusable:
        if isinstance(entry, Unusable):
            return entry
        try:
            return self._prepare(entry, rng)
        except InputError as error:
            return Unusable(entry.name, str(error))

    def _check(self, last: Unusable) -> None:
        place = self.place
        if place.n_skipped > max(ALWAYS_ALLOWED, self._max_skipped * place.n_read):
            raise DataError(
                f"{last.name}: {last.reason}. It is one of {place.n_skipped} unusable of the {place.n_read} "
                f"entries that stream {self._number} has read; data.pairs.max_skipped allows "
                f"{self._max_skipped:g} of them, and {ALWAYS_ALLOWED} in any case"
            )
