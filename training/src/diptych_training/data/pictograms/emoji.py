"""Turn the files of an emoji package into drawings with texts."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from diptych_training.data.packed import PackedItem
from diptych_training.data.pictograms.emoji_names import EmojiName, code_points_key
from diptych_training.data.pictograms.render import Drawing

TONES_SHARE = 0.5  # weight of all skin tones of an emoji together, against 1 for the plain emoji


@dataclass(frozen=True)
class EmojiFiles:
    """Location of a style's files in its package. `unlike`: a style that the drawings must differ from."""

    folder: str
    suffix: str
    unlike: str | None = None
    tones: bool = True
    flags: bool = True


EMOJI_FILES = {
    "noto": EmojiFiles("img/google/64", ".png"),
    "twemoji": EmojiFiles("img/twitter/64", ".png"),
    "openmoji": EmojiFiles("color/svg", ".svg"),
    # without flags, which have no line drawing; drawings without colour are in training already
    "openmoji-black": EmojiFiles("black/svg", ".svg", unlike="color/svg", tones=False, flags=False),
    # without flags, whose author is unknown
    "fluent-flat": EmojiFiles("assets", ".svg", flags=False),
    "fluent-modern": EmojiFiles("assets", ".svg", flags=False),
}


def emoji_drawings(package: Path, where: EmojiFiles, names: dict[str, EmojiName]) -> list[Drawing]:
    """Drawings of all files of the style that have a name, in the order of `names`."""
    files = {code_points_key(file.stem): file for file in (package / where.folder).glob(f"*{where.suffix}")}
    kept = [key for key in names if key in files and _is_wanted(key, names[key], where)]
    n_tones = Counter(names[key].base for key in kept if names[key].base != key)
    return [
        Drawing(
            _item(key, names[key], n_tones[names[key].base]),
            files[key].read_bytes(),
            unlike=_counterpart(package, where, files[key]),
        )
        for key in kept
    ]


def _is_wanted(key: str, name: EmojiName, where: EmojiFiles) -> bool:
    return (where.tones or name.base == key) and (where.flags or not name.is_flag)


def _item(key: str, name: EmojiName, n_tones: int) -> PackedItem:
    weight = 1.0 if name.base == key else round(TONES_SHARE / n_tones, 4)
    return PackedItem(key.lower(), name.label, name.keywords, name.captions, weight)


def _counterpart(package: Path, where: EmojiFiles, file: Path) -> bytes | None:
    if where.unlike is None:
        return None
    other = package / where.unlike / file.name
    return other.read_bytes() if other.exists() else None
