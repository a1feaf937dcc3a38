"""How open_clip turns texts into ids, as what a bundle needs of it; knows neither models nor files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer
from torch import Tensor

from diptych.bundle.text.tokenizer import Clean

CLEANS: dict[str, Clean] = {"lower": "clip", "whitespace": "clip_cased", "canonicalize": "canonical"}


@dataclass(frozen=True)
class Tokenizing:
    """`tokenizer` takes text cleaned by `clean`; `library` and `library_ids` are open_clip's own."""

    tokenizer: Tokenizer
    clean: Clean
    context_length: int  # of the ids that the text tower is given
    pad_id: int
    library: Callable[[Sequence[str]], Tensor]  # N texts -> (N, context length) int64
    library_ids: Callable[[str], list[int]]  # one text, padding left out
    appended_id: int | None = None  # put behind the padding of every text
