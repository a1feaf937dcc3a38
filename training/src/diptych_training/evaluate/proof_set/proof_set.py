"""Proof sets in memory, and the card with the authors and licences of their pictures."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from diptych_training.data.packed import (
    INDEX_FILE,
    Kind,
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    read_dataset,
    write_index,
    write_source,
)
from diptych_training.data.photographs.listed import listed_photographs
from diptych_training.data.pictograms.lists import NAMES_CREDIT
from diptych_training.errors import DataError
from diptych_training.evaluate.proof_set.pictures import decode_picture
from diptych_training.files import file_lock, write_text
from diptych_training.reports.markdown import markdown_table

CARD = """# Proof set of {name}

{n_proof:,} openly licensed images with their texts, to prove and to judge models on, and {n_rehearsal:,}
others to rehearse and to calibrate with; {size} x {size} pixels. It comes with bundles of diptych as
`proof_set.npz`. The split `validation` has the images of the proof: do not train on them. A source of kind
`pairs` has crops of one photograph. `MODEL_CARD.md` lists what the model was
made from.

The images belong to their authors and stay under their licences:

{sources}
{names}"""


def card_text(name: str, size: int, entries: Mapping[str, SourceEntry]) -> str:
    """The card of an unpacked proof set, in Markdown."""
    n_of = {
        split: sum(entry.n for entry in entries.values() if entry.split == split)
        for split in ("validation", "train")
    }
    kinds = {entry.kind for entry in entries.values()}
    return CARD.format(
        name=f"{name} and photographs" if "pairs" in kinds and len(kinds) > 1 else name,
        n_proof=n_of["validation"],
        n_rehearsal=n_of["train"],
        size=size,
        sources=sources_table(entries),
        names=f"\n{NAMES_CREDIT}\n" if "emoji" in kinds else "",
    )


def sources_table(entries: Mapping[str, SourceEntry]) -> str:
    """Markdown table of the sources, those of the proof first, and one of where photographs are from."""
    ordered = sorted(entries.items(), key=lambda pair: (pair[1].split != "validation", pair[0]))
    rows = [
        [source, entry.split, entry.kind, f"{entry.n:,}", entry.author, entry.licence]
        for source, entry in ordered
    ]
    table = markdown_table(["source", "split", "kind", "images", "author", "licence"], rows, n_words=6)
    return "\n\n".join(filter(None, (table, origins_table(entries))))


def origins_table(names: Iterable[str]) -> str:
    """Markdown table of where the photographs among these sources are from; empty without any."""
    known = {one.title: one.source for one in listed_photographs()}
    rows = [[name, known[name]] for name in sorted(names) if known.get(name)]
    return markdown_table(["photograph", "from"], rows, n_words=2) if rows else ""


N_PROOF, N_REHEARSAL = 1_000, 200
PROOF: Split = "validation"  # the pairs for parity and for judging: no model trains on them
REHEARSAL: Split = "train"
NAME_SUFFIX = "-proof"  # of the unpacked data set: evaluations of both must not be mistaken for one another


@dataclass(frozen=True)
class ProofSource:
    """N pictures of one author under one licence, and their items in the same order.

    `pictures` are WebP files. `split` is `validation` for the proof and `train` for rehearsal.
    """

    name: str
    split: Split
    kind: Kind
    licence: str
    author: str
    items: tuple[PackedItem, ...]
    pictures: tuple[bytes, ...]

    def entry(self, size: int) -> SourceEntry:
        """Its entry in the index of the data set that is unpacked at `size` pixels."""
        digest = sha256(repr((size, self.items)).encode("utf-8", "surrogatepass"))
        for picture in self.pictures:
            digest.update(sha256(picture).digest())
        return SourceEntry(
            split=self.split,
            kind=self.kind,
            n=len(self.items),
            licence=self.licence,
            author=self.author,
            recipe=digest.hexdigest(),
        )


@dataclass(frozen=True)
class ProofSet:
    """Pictures of `image_size` x `image_size` pixels from the data set `name`, by source.

    `texts` are further texts for parity, which describe none of the pictures.
    """

    name: str
    image_size: int
    sources: tuple[ProofSource, ...]
    texts: tuple[str, ...] = ()

    def n_pictures(self, split: Split) -> int:
        """The number of pictures for the proof (`validation`) or for rehearsal (`train`)."""
        return sum(len(source.items) for source in self.sources if source.split == split)

    def n_photographs(self, split: Split) -> int:
        """The number of photographs that its pictures of a split are crops of: a source has those of one."""
        return sum(source.split == split and source.kind == "pairs" for source in self.sources)

    def entries(self, size: int) -> dict[str, SourceEntry]:
        """Entries of all sources in the index of the data set that is unpacked at `size` pixels."""
        return {source.name: source.entry(size) for source in self.sources}

    @property
    def has_rehearsal(self) -> bool:
        """Whether there are pairs to rehearse and to calibrate with. Those of imports have none."""
        return self.n_pictures(REHEARSAL) > 0

    def unpack(self, folder: Path, size: int) -> PackedDataset:
        """Write an ordinary packed data set of `size` pixels, with its card, and return it.

        A folder that already holds it is returned as it is. Raises DataError if the folder holds another data
        set or a picture cannot be decoded.
        """
        wanted = PackedDataset(
            path=folder,
            name=f"{self.name}{NAME_SUFFIX}",
            image_size=size,
            entries=self.entries(size),
            texts=self.texts,
        )
        with file_lock(folder / ".lock"):
            if (folder / INDEX_FILE).is_file():
                found = read_dataset(folder)
                if found == wanted:
                    return found
                _require_proof_set(found, wanted)
                (folder / INDEX_FILE).unlink()  # it must not list the files that are replaced now
            for source in self.sources:
                decode = partial(decode_picture, stored_size=self.image_size, size=size)
                images = np.stack([decode(picture) for picture in source.pictures])
                write_source(folder, source.split, source.name, images, list(source.items))
            write_text(folder / "CARD.md", card_text(self.name, size, wanted.entries))
            write_index(wanted)
        return read_dataset(folder)


def items_as_json(items: Iterable[PackedItem]) -> list[dict[str, object]]:
    """Items as they are written to a file."""
    rows: list[dict[str, object]] = json.loads(json.dumps([asdict(item) for item in items]))
    return rows


def _require_proof_set(found: PackedDataset, wanted: PackedDataset) -> None:
    if found.name != wanted.name:
        raise DataError(
            f"{found.path} holds the data set {found.name!r}, so the proof set {wanted.name!r} "
            "cannot be unpacked there: choose another folder"
        )
