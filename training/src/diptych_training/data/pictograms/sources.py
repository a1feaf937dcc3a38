"""Read the drawings of each listed source from its npm package."""

from functools import cached_property
from pathlib import Path

from diptych_training.data.pictograms.emoji import EMOJI_FILES, emoji_drawings
from diptych_training.data.pictograms.emoji_names import EmojiName, read_emoji_names
from diptych_training.data.pictograms.icon_names import WordSplitter
from diptych_training.data.pictograms.icon_set import IconSet, read_icon_set
from diptych_training.data.pictograms.icons import hyphenated_words, icon_drawings, listed_drawings
from diptych_training.data.pictograms.lists import (
    ICONS_PACKAGE,
    NAMES_PACKAGE,
    SourceSpec,
    eval_items,
    source_specs,
)
from diptych_training.data.pictograms.npm import NpmCache
from diptych_training.data.pictograms.render import Drawing

# folders unpacked from each package; the rest is sprite sheets, other sizes and other languages
FOLDERS = {
    NAMES_PACKAGE: ("en/", "meta/"),
    ICONS_PACKAGE: ("json/",),
    "emoji-datasource-google": ("img/google/64/",),
    "emoji-datasource-twitter": ("img/twitter/64/",),
    "openmoji": ("color/svg/", "black/svg/"),
    "@lobehub/fluent-emoji-flat": ("assets/",),
    "@lobehub/fluent-emoji-modern": ("assets/",),
}


class Sources:
    """Reads drawings, opening packages on demand."""

    def __init__(self, npm: NpmCache) -> None:
        self._npm = npm

    def drawings(self, spec: SourceSpec) -> list[Drawing]:
        """All drawings of a source with texts. DataError if a package or a listed icon is missing."""
        if spec.split == "eval":
            return listed_drawings(self._icon_set(spec.name), spec, eval_items(spec.name))
        if spec.kind == "emoji":
            where = EMOJI_FILES[spec.name]
            return emoji_drawings(self._package(spec.package), where, self._emoji_names)
        return icon_drawings(self._icon_set(spec.name), self._words)

    def _package(self, package: str) -> Path:
        return self._npm.folder(package, *FOLDERS[package])

    def _icon_set(self, prefix: str) -> IconSet:
        return read_icon_set(self._package(ICONS_PACKAGE) / "json" / f"{prefix}.json")

    @cached_property
    def _emoji_names(self) -> dict[str, EmojiName]:
        return read_emoji_names(self._package(NAMES_PACKAGE))

    @cached_property
    def _words(self) -> WordSplitter:
        """The words in the names of all training sets."""
        sets = (self._icon_set(spec.name) for spec in source_specs("train") if spec.kind == "icons")
        return WordSplitter(word for icons in sets for word in hyphenated_words(icons))
