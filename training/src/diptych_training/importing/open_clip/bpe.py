"""open_clip's text processing, and CLIP's byte-level BPE as a `tokenizers` file.

The file has no normalisation: the bundle cleans texts.
"""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode, default_bpe
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

from diptych.bundle.text.tokenizer import Clean
from diptych_training.errors import ImportFailed

CLEANS: dict[str, Clean] = {"lower": "clip", "whitespace": "clip_cased", "canonicalize": "canonical"}


@dataclass(frozen=True)
class TextProcessing:
    """`tokenizer` expects text cleaned by `clean`; `library` and `library_ids` use open_clip's own code."""

    tokenizer: Tokenizer
    clean: Clean
    context_length: int  # of the ids that the exported text tower takes
    pad_id: int
    library: Callable[[Sequence[str]], Tensor]  # N texts -> (N, context length) int64
    library_ids: Callable[[str], list[int]]  # one text, without padding
    appended_id: int | None = None  # token that follows the padding of every text


START, END = "<|startoftext|>", "<|endoftext|>"
VOCAB_SIZE = 49408
N_MERGES = VOCAB_SIZE - 2 * 256 - 2  # without bytes, bytes at the end of a word, and two special tokens
# The library's pattern. (?i:) folds case as Python's IGNORECASE does; \p{N} is one digit per token.
PIECE_PATTERN = (
    r"<start_of_text>|<end_of_text>|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


@cache
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : 1 + N_MERGES]  # the first line is a header
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(a + b for a, b in merges), START, END]
    return {token: id for id, token in enumerate(tokens)}, merges


def clip_tokenizer() -> Tokenizer:
    """A tokenizer with the ids of the library's own, for text that is already cleaned."""
    vocabulary, merges = _vocabulary()
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=END)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECE_PATTERN), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])]
    )
    return tokenizer


def simple_text_processing(text: dict[str, Any], vocab_size: int, context_length: int) -> TextProcessing:
    """Text processing by the library's `SimpleTokenizer`, whose vocabulary the library contains.

    Raises ImportFailed if the text tower has another vocabulary, or `text_cfg` asks for random masking.
    """
    options = {"clean": "lower", **(text.get("tokenizer_kwargs") or {})}
    if set(options) != {"clean"} or options["clean"] not in CLEANS:
        raise ImportFailed(
            f"text_cfg.tokenizer_kwargs is {options}: CLIP's tokenizer supports only clean, "
            f"one of {', '.join(CLEANS)}"
        )
    if vocab_size != VOCAB_SIZE:
        raise ImportFailed(
            f"the text tower has {vocab_size} tokens, CLIP's tokenizer {VOCAB_SIZE}: pass --tokenizer"
        )
    library = SimpleTokenizer(context_length=context_length, clean=options["clean"])
    end = library.eot_token_id

    def library_ids(text: str) -> list[int]:
        row: list[int] = library([text])[0].tolist()
        return row[: len(row) - row[::-1].index(end)]  # padding follows the last end-of-text

    return TextProcessing(clip_tokenizer(), CLEANS[options["clean"]], context_length, 0, library, library_ids)
