"""The model card of a bundle, and what it shows: figures and other cards."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from diptych.bundle.schema import Manifest
from diptych.errors import CorruptBundle, NotFound, TooLarge

CARD_FILES = ("MODEL_CARD.md", "README.md")  # the first that a bundle has is its card
MAX_CARD_BYTES = 16_000_000  # of one file
MEDIA_TYPES = {
    ".md": "text/markdown; charset=utf-8",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
}


@dataclass(frozen=True)
class CardFile:
    """A file of a card as its manifest lists it."""

    payload: bytes
    media_type: str
    sha256: str


def read_card(folder: Path, manifest: Manifest) -> CardFile:
    """The card of a bundle, as Markdown. Raises as `read_card_file`."""
    for name in CARD_FILES:
        if name in manifest.files:
            return read_card_file(folder, manifest, name)
    raise NotFound(f"{manifest.name}/{manifest.version} has no model card")


def read_card_file(folder: Path, manifest: Manifest, name: str) -> CardFile:
    """A Markdown file or picture of a bundle. Its name must be in the manifest, which has plain names only.

    Raises NotFound, TooLarge; CorruptBundle if the file is not what the manifest lists.
    """
    label, media_type = f"{manifest.name}/{manifest.version}", MEDIA_TYPES.get(Path(name).suffix.lower())
    entry = manifest.files.get(name)
    if entry is None or media_type is None:
        raise NotFound(f"{label} has no file {name[:140]!r} that a card could show")
    if entry.bytes > MAX_CARD_BYTES:
        raise TooLarge(f"{label}/{name} has {entry.bytes} bytes, limit is {MAX_CARD_BYTES}")
    try:
        payload = (folder / name).read_bytes()
    except OSError as error:
        raise CorruptBundle(f"{label}/{name}: cannot be read: {error.strerror}") from error
    if hashlib.sha256(payload).hexdigest() != entry.sha256:
        raise CorruptBundle(f"{label}/{name}: its sha256 is not that of the manifest")
    return CardFile(payload, media_type, entry.sha256)
