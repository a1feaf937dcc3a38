"""CLIP's own byte-level BPE as a `tokenizers` file without any normalisation: cleaning is the bundle's."""

import gzip
from functools import cache
from typing import Any

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode, default_bpe
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from diptych_training.errors import ImportFailed
from diptych_training.importing.open_clip.tokenizing import CLEANS, Tokenizing

START, END = "<|startoftext|>", "<|endoftext|>"
VOCAB_SIZE = 49408
N_MERGES = VOCAB_SIZE - 2 * 256 - 2  # beside bytes, bytes at the end of a word, and two special tokens
# The library's own pattern. (?i:) folds as Python's IGNORECASE does; \p{N} is one digit a token.
PIECES = r"<start_of_text>|<end_of_text>|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@cache
def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    with gzip.open(default_bpe(), "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : 1 + N_MERGES]  # the first line is a header
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    letters = list(bytes_to_unicode().values())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *(a + b for a, b in merges), START, END]
    return {token: id for id, token in enumerate(tokens)}, merges


def clip_tokenizer() -> Tokenizer:
    """Gives the ids of the library's own tokenizer for text that was cleaned before."""
    vocabulary, merges = _vocabulary()
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=END)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])]
    )
    return tokenizer


def simple_tokenizing(text: dict[str, Any], vocab_size: int, context_length: int) -> Tokenizing:
    """The library's `SimpleTokenizer`, whose vocabulary it carries with it.

    Raises ImportFailed when the text tower has another vocabulary, or `text_cfg` asks for random masking.
    """
    options = {"clean": "lower", **(text.get("tokenizer_kwargs") or {})}
    if set(options) != {"clean"} or options["clean"] not in CLEANS:
        raise ImportFailed(
            f"text_cfg.tokenizer_kwargs is {options}: of CLIP's own tokenizer only clean can be kept, "
            f"as one of {', '.join(CLEANS)}"
        )
    if vocab_size != VOCAB_SIZE:
        raise ImportFailed(
            f"the text tower knows {vocab_size} tokens, CLIP's own tokenizer {VOCAB_SIZE}: pass --tokenizer"
        )
    library = SimpleTokenizer(context_length=context_length, clean=options["clean"])
    end = library.eot_token_id

    def library_ids(text: str) -> list[int]:
        row: list[int] = library([text])[0].tolist()
        return row[: len(row) - row[::-1].index(end)]  # padding follows the last end-of-text

    return Tokenizing(clip_tokenizer(), CLEANS[options["clean"]], context_length, 0, library, library_ids)
