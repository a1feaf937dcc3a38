"""A byte-level BPE tokenizer file whose merges spell the colour words; knows nothing of models."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors

from support.tiny_graphs import COLOURS

START, END, PAD = "<|startoftext|>", "<|endoftext|>", "<|pad|>"


def write_tiny_tokenizer(file: Path, more_words: Sequence[str] = ()) -> dict[str, int]:
    """Write tokenizer.json and return its vocabulary, token -> id; `more_words` have tokens, too."""
    tokenizer = Tokenizer(_bpe([*more_words, *COLOURS]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    vocabulary = tokenizer.get_vocab()
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single=f"{START} $A {END}",
        special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])],
    )
    tokenizer.save(str(file))
    return vocabulary


def _bpe(words: Sequence[str]) -> models.BPE:
    tokens = [PAD, START, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for word in words:
        for end in range(2, len(word) + 1):
            merge = (word[: end - 1], word[end - 1])
            if merge not in merges:
                merges.append(merge)
                tokens.append("".join(merge))
    tokens.append(END)  # the highest id, as in CLIP
    return models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
