"""Turn pairs into the items, pixels and files of a packed data set."""

from collections.abc import Mapping, Sequence

from diptych.bundle.encoder import Pixels
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.manifest import ImageSpec
from diptych.errors import InputError
from diptych_training.data.packed import (
    Images,
    Kind,
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    content_of,
)
from diptych_training.data.pairs.image_files import run_isolated
from diptych_training.data.pairs.pair import Entry, Pair, Unusable
from diptych_training.files import write_text

KIND: Kind = "pairs"
UNKNOWN = "unknown"
CARD = """# {name}

Packed with `{command}` from image-text pairs: {n_images} images at {size} px.

| source | split | images | author | licence |
|---|---|---|---|---|
{rows}
"""


def source_name(split: Split) -> str:
    """The name of a split's only source."""
    return f"{KIND}-{split}"


def prepared_pixels(entry: Entry, spec: ImageSpec, limits: ImageLimits) -> Pixels | str:
    """(S, S, 3) pixels, or the reason why the entry is unusable."""
    try:
        if isinstance(entry, Unusable):
            return entry.reason
        return run_isolated(load_pixels, entry.image, spec, limits)
    except InputError as error:
        return str(error)


def packed_item(pair: Pair) -> PackedItem:
    """The item of a pair: its first text is the label."""
    texts = pair.texts
    further = texts.captions if texts.label is not None else texts.captions[1:]
    return PackedItem(pair.name, texts.first, texts.keywords, further)


def packed_entry(
    split: Split,
    images: Images,
    items: Sequence[PackedItem],
    *,
    drops: Mapping[str, int],
    licence: str = UNKNOWN,
    author: str = UNKNOWN,
) -> SourceEntry:
    """The index entry of a split's source; `drops` of 0 are left out."""
    return SourceEntry(
        split=split,
        kind=KIND,
        n=len(items),
        licence=licence,
        author=author,
        recipe=content_of(images, list(items)),
        drops={reason: n for reason, n in drops.items() if n},
    )


def write_card(dataset: PackedDataset, command: str) -> None:
    """Write CARD.md: the sources with their authors and licences. `command` is what packed them."""
    rows = [
        f"| {name} | {entry.split} | {entry.n:,} | {entry.author} | {entry.licence} |"
        for name, entry in sorted(dataset.entries.items())
    ]
    card = CARD.format(
        name=dataset.name,
        command=command,
        n_images=f"{sum(entry.n for entry in dataset.entries.values()):,}",
        size=dataset.image_size,
        rows="\n".join(rows),
    )
    write_text(dataset.path / "CARD.md", card)
