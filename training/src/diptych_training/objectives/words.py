"""The words of captions, for objectives that predict them.

A word is a run of letters or a single digit of the cleaned text; other signs are left out. The words of a
caption are read back from its token ids, so an objective sees the caption that the text tower would have got.
"""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from tokenizers import Tokenizer

from diptych.bundle.manifest import TextSpec
from diptych.bundle.text.tokenizer import Ids, TextTokenizer, clean

WORD = re.compile(r"[^\W\d_]+|\d")
WORD_END = "</w>"  # with which tokens of a CLIP tokenizer end a word
N_KNOWN = 100_000  # captions whose words are kept


class Captions:
    """Reads captions, with a run's tokenizer and cleaning. It never changes: copies of a model share it."""

    def __init__(self, tokenizer_file: Path, spec: TextSpec) -> None:
        self.spec = spec
        self.tokenizer = TextTokenizer(tokenizer_file, spec)
        self._plain = Tokenizer.from_file(str(tokenizer_file))
        self.vocab_size = self._plain.get_vocab_size()
        self.start, self.end = (int(id) for id in self.ids(""))  # of every caption
        self._words_of = lru_cache(N_KNOWN)(self._read)

    def __deepcopy__(self, _: dict[int, object]) -> "Captions":
        return self

    def ids(self, text: str) -> Ids:
        """(L,) ids of a text, start and end included."""
        return self.tokenizer.ids(text)[0]

    def clean(self, text: str) -> str:
        """The text as the tokenizer gets it."""
        return clean(text, self.spec.clean)

    def words(self, text: str) -> tuple[str, ...]:
        """The words of a text."""
        return tuple(WORD.findall(self.clean(text)))

    def words_of(self, ids: list[int]) -> tuple[str, ...]:
        """The words of a caption from its ids, padded or not: all before the first end-of-text token."""
        return self._words_of(tuple(ids))

    def _read(self, ids: tuple[int, ...]) -> tuple[str, ...]:
        body = ids[1 : ids.index(self.end)] if self.end in ids else ids[1:]
        return tuple(WORD.findall(self._plain.decode(list(body)).replace(WORD_END, " ")))


def most_common(entries: Iterable[str], n: int) -> dict[str, int]:
    """The n most frequent entries and how often each occurs, first the most frequent, then the shortest, then
    by alphabet.
    """
    counts = Counter(entries)
    ordered = sorted(counts, key=lambda entry: (-counts[entry], len(entry), entry))
    return {entry: counts[entry] for entry in ordered[:n]}


def key_of(text: bytes) -> int:
    """Hash a caption or label to 64 bits, the same in every process."""
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little", signed=True)
