"""Converts texts to the input_ids that a bundle's text encoder takes."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.clean import MAX_CHARS, repair
from diptych.errors import CorruptBundle, InvalidManifest, InvalidValue

Clean = Literal["none", "clip", "clip_cased", "canonical"]
Ids = NDArray[np.int32]

CHARS_PER_TOKEN = 32  # far more than words have; texts with longer tokens only take longer
N_SPARE = 2  # context lengths beyond the one that is used, the last of them possibly incomplete
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True)
class Tokens:
    """A batch of texts: `input_ids` (B, L) int32, padded, and which texts were truncated."""

    input_ids: Ids
    truncated: tuple[bool, ...]


def clean(text: str, mode: Clean, max_chars: int = MAX_CHARS) -> str:
    """Clean a text as the model's training did before tokenising, which a tokenizer file cannot express.

    `clip` repairs, unescapes, collapses whitespace and lower-cases as CLIP does (Radford et al. 2021);
    `clip_cased` does not lower-case; `canonical` also drops ASCII punctuation, as SigLIP does (Zhai et al.
    2023). `max_chars` limits how much of a text is repaired.
    """
    match mode:
        case "none":
            return text
        case "clip":
            return _collapse(repair(text, max_chars)).lower()
        case "clip_cased":
            return _collapse(repair(text, max_chars))
        case "canonical":
            return _collapse(
                repair(text, max_chars).replace("_", " ").translate(_WITHOUT_PUNCTUATION).lower()
            )
        case _:
            assert_never(mode)


def _collapse(text: str) -> str:
    return " ".join(text.split())


class TextTokenizer:
    """Cleans, tokenises and pads texts. Thread-safe: it does not change after loading."""

    def __init__(self, tokenizer_file: Path, spec: TextSpec) -> None:
        """Load `tokenizer.json`.

        Raises CorruptBundle; InvalidManifest if the context has no space for a token.
        """
        self._spec = spec
        self._tokenizer = _load(tokenizer_file, spec.context_length)
        self._reserved = _reserved_ids(self._tokenizer)
        self._max_chars = max(MAX_CHARS, CHARS_PER_TOKEN * spec.context_length)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """B texts -> (B, L) int32.

        Texts that are too long are truncated, and keep their end-of-text token.
        """
        rows = [self.ids(text) for text in texts]
        return Tokens(pad([ids for ids, _ in rows], self._spec), tuple(truncated for _, truncated in rows))

    def ids(self, text: str) -> tuple[Ids, bool]:
        """One text -> ((L,) int32 without padding, truncated). Raises InvalidValue for invalid Unicode."""
        _check_unicode(text)
        encoding = self._encode(clean(text, self._spec.clean, self._max_chars))
        return np.array(self._allowed(encoding), dtype=np.int32), bool(encoding.overflowing)

    def _encode(self, cleaned: str) -> Encoding:
        """Encode only the first characters if they give more than two context lengths of tokens.

        What is cut off could change only the last of these tokens, never those within the first context
        length.
        """
        n_chars = CHARS_PER_TOKEN * self._spec.context_length
        if len(cleaned) > n_chars:
            encoding = self._tokenizer.encode(cleaned[:n_chars])
            if len(encoding.overflowing) >= N_SPARE:
                return encoding
        return self._tokenizer.encode(cleaned)

    def _allowed(self, encoding: Encoding) -> list[int]:
        """Drop special ids that the text itself contains: an end-of-text among them would move the pooled
        token.

        The tokenizer already treats special literals as text, but some models (Unigram, or BPE that looks up
        whole words) still find them in their vocabulary.
        """
        if self._reserved.isdisjoint(encoding.ids):
            return encoding.ids
        placed = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        return [id for id, is_special in placed if is_special or id not in self._reserved]


def pad(rows: Sequence[Ids], spec: TextSpec) -> Ids:
    """Rows of (L_i,) int32 -> (B, L) int32, filled with `pad_id` on the right."""
    longest = max((len(row) for row in rows), default=0)
    width = spec.context_length if spec.pad_to == "context_length" else max(longest, 1)
    padded = np.full((len(rows), width), spec.pad_id, dtype=np.int32)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def _load(tokenizer_file: Path, context_length: int) -> Tokenizer:
    """Load a tokenizer, with the padding and truncation of the manifest instead of the file's."""
    try:
        tokenizer = Tokenizer.from_str(tokenizer_file.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises bare Exception
        raise CorruptBundle(f"{tokenizer_file.name}: not a tokenizer file: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True  # treat literals such as <|endoftext|> in a text as text
    n_special = len(tokenizer.encode("").ids)
    if n_special >= context_length:
        raise InvalidManifest(
            f"text.context_length: {context_length} leaves no space next to {n_special} special tokens"
        )
    tokenizer.enable_truncation(context_length)
    return tokenizer


def _reserved_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The ids that only the template may place: special tokens, without an unused unknown token."""
    special = {id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    placed = set(tokenizer.encode("").ids)
    unknown = getattr(tokenizer.model, "unk_token", None)
    free = {tokenizer.token_to_id(unknown)} - placed if unknown else set()
    return frozenset((special | placed) - free)


def _check_unicode(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidValue(f"text is not valid Unicode: lone surrogate at character {error.start}") from error
