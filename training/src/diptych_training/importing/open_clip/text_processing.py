"""Type for open_clip's text processing: its own tokenizer, and the equivalent for a bundle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer
from torch import Tensor

from diptych.bundle.text.tokenizer import Clean

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
