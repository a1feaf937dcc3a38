"""Read the texts of a clip art: from the name of its file, its title and its keywords."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from diptych_training.data.packed import PackedItem

PUBLIC_DOMAIN = re.compile(r'License rdf:about="(?:[^"]*PublicDomain|Public Domain)"')
TITLE = re.compile(r"<cc:Work[^>]*>.*?<dc:title>([^<]*)<", re.DOTALL)
AUTHORS = re.compile(r"<dc:creator>.*?<dc:title>([^<]*)<", re.DOTALL)
KEYWORD = re.compile(r"<rdf:li>([^<]*)<")
COLLECTIONS = re.compile(r"^(?:clipart by|various|unsorted|untitled|layer)", re.IGNORECASE)
MAX_WORDS = 6  # longer titles are remarks
MIN_NAME_LETTERS = 3


def item_of(path: PurePosixPath, svg: str) -> PackedItem | None:
    """The texts of a clip art by its path in the library; None without a usable name, or a licence.

    "animals/mammals/cat_03_smith_01.svg" by "J. Smith" is a "cat".
    """
    if not PUBLIC_DOMAIN.search(svg):
        return None
    author = AUTHORS.search(svg)
    label = _label(path.stem, author.group(1) if author else "")
    if len(label.replace(" ", "")) < MIN_NAME_LETTERS:
        return None
    keywords = dict.fromkeys(_words(text) for text in KEYWORD.findall(svg))
    keywords |= dict.fromkeys(_words(part) for part in path.parts[:-1])
    kept = tuple(text for text in keywords if text and text not in (label, "unsorted"))
    captions = tuple(text for text in _titles(svg) if text != label)
    return PackedItem(str(path), label, kept, captions)


def _titles(svg: str) -> Iterator[str]:
    found = TITLE.search(svg)
    title = _words(found.group(1)) if found else ""
    if len(title) >= MIN_NAME_LETTERS and not COLLECTIONS.match(title) and len(title.split()) <= MAX_WORDS:
        yield title


def _label(stem: str, author: str) -> str:
    """The words of a file's name without its numbers, and without the author's name at its end."""
    words, names = _words(stem).split(), [name for name in _words(author).split() if len(name) > 1]
    while len(words) > 1 and (len(words[-1]) == 1 or any(name.startswith(words[-1]) for name in names)):
        words.pop()
    return " ".join(words)


def _words(text: str) -> str:
    """Letters only, in lower case, with single spaces."""
    return " ".join(re.sub(r"[\W\d_]+", " ", text).lower().split())
