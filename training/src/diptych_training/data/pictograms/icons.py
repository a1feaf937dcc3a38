"""Choose the icons of a set and derive their texts: one drawing per label in each set."""

import hashlib
import re
from collections.abc import Iterator

from diptych_training.data.packed import PackedItem
from diptych_training.data.pictograms.icon_names import (
    Conventions,
    IconName,
    WordSplitter,
    conventions_of,
    is_description,
    writes_words_together,
)
from diptych_training.data.pictograms.icon_set import IconSet
from diptych_training.data.pictograms.lists import EvalItem, SourceSpec, class_text
from diptych_training.data.pictograms.render import Drawing
from diptych_training.errors import DataError

MAX_ALIASES = 6  # some icons carry dozens of old names
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def icon_drawings(icons: IconSet, words: WordSplitter) -> list[Drawing]:
    """One drawing for each label; a hash chooses among its styles, sizes and variants."""
    reader = _Reader(icons, words)
    variants: dict[str, list[tuple[str, IconName]]] = {}
    for name in icons.names():
        read = reader.read(name)
        if is_description(read.label):
            variants.setdefault(read.label, []).append((name, read))
    aliases = reader.aliases_by_label()
    drawings = []
    for label, candidates in variants.items():
        name, read = min(candidates, key=lambda candidate: _hash_order(icons.prefix, candidate[0]))
        captions = dict.fromkeys(_captions(read, icons.categories.get(name, []), aliases.get(label, [])))
        captions.pop(class_text(label), None)
        item = PackedItem(name, class_text(label), captions=tuple(captions))
        drawings.append(Drawing(item, icons.svg(name).encode()))
    return drawings


def listed_drawings(icons: IconSet, spec: SourceSpec, listed: list[EvalItem]) -> list[Drawing]:
    """The drawings of a held-out source, exactly those of the list.

    DataError naming missing ones.
    """
    if len(listed) != spec.n_images:
        raise DataError(
            f"source {spec.name!r}: the list has {len(listed)} items, its entry says {spec.n_images}"
        )
    missing = [item.name for item in listed if item.name not in icons.icons]
    if missing:
        raise DataError(f"source {spec.name!r} lacks {len(missing)} listed icons: {', '.join(missing[:20])}")
    return [
        Drawing(PackedItem(item.name, item.label, near_train=item.near_train), icons.svg(item.name).encode())
        for item in listed
    ]


def hyphenated_words(icons: IconSet) -> Iterator[str]:
    """The words in a set's names, once per name; none for a set that joins words."""
    names = list(icons.names())
    if not writes_words_together(names):
        for name in names:
            yield from (word for word in set(name.split("-")) if word.isalpha())


class _Reader:
    """Reads the names of one set by its conventions."""

    def __init__(self, icons: IconSet, words: WordSplitter) -> None:
        names = list(icons.names())
        self._icons = icons
        self._conventions: Conventions = conventions_of(names, icons.suffixes, icons.prefixes)
        self._splitter = words if writes_words_together(names) else None

    def read(self, name: str) -> IconName:
        return self._conventions.read(name, self._splitter)

    def aliases_by_label(self) -> dict[str, list[str]]:
        """Label -> other names that the set gives to any drawing of it."""
        found: dict[str, list[str]] = {}
        for alias, parent in self._icons.aliases.items():
            spoken, of = self.read(alias).label, self.read(parent).label
            if spoken != of and is_description(spoken) and spoken not in found.setdefault(of, []):
                found[of].append(spoken)
        return found


def _captions(read: IconName, categories: list[str], aliases: list[str]) -> Iterator[str]:
    if read.style:
        yield f"{read.label} {read.style}"
    for category in categories:
        yield f"{_CAMEL.sub(' ', category).replace('-', ' ').lower()}: {read.label}"
    yield from aliases[:MAX_ALIASES]


def _hash_order(prefix: str, name: str) -> bytes:
    return hashlib.sha256(f"{prefix}:{name}".encode()).digest()
