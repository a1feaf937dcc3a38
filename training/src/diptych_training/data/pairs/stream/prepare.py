"""Turn a stream's entries into training samples: pixels and token ids. Counts unusable entries."""

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
from diptych_training.data.captions import KEYWORD_SEPARATOR, caption_key
from diptych_training.data.label_key import label_key
from diptych_training.data.pairs.image_files import run_isolated
from diptych_training.data.pairs.pair import Entry, Pair, Texts, Unusable
from diptych_training.data.pairs.stream.crop import Crop, load_crop
from diptych_training.data.pairs.stream.order import Cursor, Stream
from diptych_training.errors import DataError

SAMPLE_STREAM = 3  # part of the seed, distinct from those in `order`
MAX_TEXT_IN_MESSAGE = 40  # characters of a text in a message
MIN_ALLOWED_SKIPS = 10  # entries that a stream may always skip, whatever their share


class TextSampler:
    """Samples a text with the weights of `CaptionConfig`. Without a label, all captions are equally likely.

    `data.captions` does the same for data sets whose texts are known in advance and tokenised once.
    """

    def __init__(self, config: CaptionConfig) -> None:
        self._config = config
        weights = np.array([config.label, config.label_keywords, config.caption], dtype=np.float64)
        self._thresholds = np.cumsum(weights / weights.sum())

    def sample(self, texts: Texts, rng: np.random.Generator) -> str:
        """Sample one text, in a template with the configured probability."""
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
class StreamPosition:
    """Position of a stream: its cursor, and the numbers of entries read and skipped so far."""

    cursor: Cursor = Cursor(0)  # noqa: RUF009  frozen
    n_read: int = 0
    n_skipped: int = 0

    def to_numbers(self) -> list[int]:
        """The position as numbers for JSON."""
        cursor = self.cursor
        return [cursor.epoch, cursor.shard, cursor.entry, cursor.taken, self.n_read, self.n_skipped]


def position_from_numbers(numbers: Sequence[int]) -> StreamPosition:
    """The position from the result of `StreamPosition.to_numbers`."""
    epoch, shard, entry, taken, n_read, n_skipped = numbers
    return StreamPosition(Cursor(epoch, shard, entry, taken), n_read, n_skipped)


@dataclass(frozen=True)
class Sample:
    """A pair ready for a batch. `caption` and `label` are what is equal for captions of one label:
    `caption_key` of its text, and `label_key` of its label, or else of its text.
    """

    pixels: Pixels  # (S, S, 3)
    input_ids: Ids  # (L,)
    caption: bytes
    label: str


class Preparer:
    """Decodes and tokenises pairs."""

    def __init__(
        self,
        *,
        image_spec: ImageSpec,
        text_spec: TextSpec,
        tokenizer_file: Path,
        texts: TextSampler,
        limits: ImageLimits,
        mode: DecodeMode,
        crop: Crop | None = None,
    ) -> None:
        self._image_spec = image_spec
        self._text_spec = text_spec
        self._tokenizer = TextTokenizer(tokenizer_file, text_spec)
        self._empty_ids, _ = self._tokenizer.ids("")
        self._texts = texts
        self._limits = limits
        self._mode: DecodeMode = mode
        self._crop = crop

    def __call__(self, pair: Pair, rng: np.random.Generator) -> Sample:
        """Raises InputError for an image that cannot be decoded within the limits, or an invalid text."""
        text = self._texts.sample(pair.texts, rng)
        ids, _ = self._tokenizer.ids(text)
        if np.array_equal(ids, self._empty_ids):
            raise InvalidValue(f"its text {text[:MAX_TEXT_IN_MESSAGE]!r} is empty after cleaning")
        named = clean(text if pair.texts.label is None else pair.texts.label, self._text_spec.clean)
        pixels = self._pixels(pair.image, rng)
        caption = caption_key(text, self._tokenizer, self._text_spec)
        return Sample(pixels, ids, caption, label_key(named))

    def _pixels(self, image: bytes, rng: np.random.Generator) -> Pixels:
        if self._crop is None:
            return run_isolated(load_pixels, image, self._image_spec, self._limits, self._mode)
        seed = int(rng.integers(2**63))
        return run_isolated(load_crop, image, self._image_spec, self._limits, self._crop, seed)


class SampleStream:
    """The samples of one stream, in order; unusable entries are skipped, up to a limit."""

    def __init__(
        self,
        stream: Stream,
        number: int,
        seed: int,
        prepare: Preparer,
        *,
        max_skipped: float,
        excluded: frozenset[str] = frozenset(),
        start: StreamPosition = StreamPosition(),
    ) -> None:
        self._number = number
        self._seed = seed
        self._prepare = prepare
        self._max_skipped = max_skipped
        self._entries: Iterator[tuple[Entry, Cursor]] = stream.entries(start.cursor, excluded=excluded)
        self.position = start

    def take(self, n: int) -> list[Sample]:
        """The next `n` samples. DataError, naming the last skipped entry, if too many are skipped."""
        rng = np.random.default_rng((self._seed, SAMPLE_STREAM, self._number, self.position.n_read))
        samples: list[Sample] = []
        while len(samples) < n:
            entry, cursor = next(self._entries)
            made = self._prepared(entry, rng)
            self.position = StreamPosition(
                cursor, self.position.n_read + 1, self.position.n_skipped + isinstance(made, Unusable)
            )
            if isinstance(made, Unusable):
                self._require_few_skipped(made)
            else:
                samples.append(made)
        return samples

    def _prepared(self, entry: Entry, rng: np.random.Generator) -> Sample | Unusable:
        if isinstance(entry, Unusable):
            return entry
        try:
            return self._prepare(entry, rng)
        except InputError as error:
            return Unusable(entry.name, str(error))

    def _require_few_skipped(self, last: Unusable) -> None:
        position = self.position
        if position.n_skipped > max(MIN_ALLOWED_SKIPS, self._max_skipped * position.n_read):
            raise DataError(
                f"{last.name}: {last.reason}. It is one of {position.n_skipped} unusable of the "
                f"{position.n_read} entries that stream {self._number} has read; data.pairs.max_skipped "
                f"allows {self._max_skipped:g} of them, and {MIN_ALLOWED_SKIPS} in any case"
            )
