"""Split words that are written together, such as "squareheart", by the words that other names use."""

from collections import Counter
from collections.abc import Iterable

MIN_COUNT = 3  # names that must use a word before others are split into it
MIN_LENGTH = 2
MAX_HYPHENATED = 0.02  # a set with fewer hyphenated names than this share writes its words together


def writes_words_together(names: Iterable[str]) -> bool:
    """Whether a set of icon names does without hyphens."""
    hyphenated = [("-" in name) for name in names]
    return bool(hyphenated) and sum(hyphenated) < MAX_HYPHENATED * len(hyphenated)


class JoinedWords:
    """Knows how often each word is used, and splits others into as few of them as possible."""

    def __init__(self, words: Iterable[str]) -> None:
        self._counts = Counter(words)

    def __call__(self, text: str) -> list[str]:
        """The parts of `text`; the text itself when it is a word already or cannot be split.

        Among splits into equally few words, the one whose rarest word is the most common.
        """
        if self._is_word(text):
            return [text]
        best: list[tuple[int, int, list[str]] | None] = [(0, 0, [])] + [None] * len(text)
        for end in range(1, len(text) + 1):
            for start in range(max(0, end - 20), end - MIN_LENGTH + 1):
                before, part = best[start], text[start:end]
                if before is None or not self._is_word(part):
                    continue
                rarity = max(before[1], -self._counts[part]) if start else -self._counts[part]
                candidate = (before[0] + 1, rarity, [*before[2], part])
                if best[end] is None or candidate < best[end]:  # type: ignore[operator]
                    best[end] = candidate
        whole = best[-1]
        return whole[2] if whole else [text]

    def _is_word(self, text: str) -> bool:
        return len(text) >= MIN_LENGTH and self._counts[text] >= MIN_COUNT
