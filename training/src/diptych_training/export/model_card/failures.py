"""The failures of a model, as one PNG and in figures: what it names wrongly in a proof set, of both kinds.

Drawings are named among all names of the proof set's drawings, photographs among those of its photographs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from diptych_training.data.packed import Kind, PackedSource
from diptych_training.evaluate.confusions import Confusion, EmbeddedSource, widest_margins
from diptych_training.evaluate.embedding import embed_images
from diptych_training.evaluate.evaluated_model import EvaluatedModel
from diptych_training.evaluate.proof_set.pictures import decode_picture
from diptych_training.evaluate.proof_set.proof_set import PROOF, ProofSet, ProofSource
from diptych_training.evaluate.ranking import accepted_labels, relevance
from diptych_training.evaluate.zero_shot import class_embeddings
from diptych_training.reports.pictures import PALE, Cell, Line, contact_sheet, first_within

FAILURES_FILE = "failures.png"
KINDS: dict[str, tuple[Kind, ...]] = {"Drawings": ("emoji", "icons"), "Photographs": ("pairs",)}
N_DRAWINGS = 200  # of all sources together, evenly drawn; of a photograph the first picture
COLUMNS, N_SHOWN, TILE = 6, 18, 120  # cells in a row, cells of a kind, pixels
WRONG = "#b3261e"
LEGEND = (
    "Below each picture: its name, the name that the model preferred, with its probability, and the author."
)
NOTE = f"""
What its float32 weights name right in its proof set, one picture of each photograph:

{{counts}}

The picture shows wrong names, widest margins first; names on sexual health are counted and not shown.
The table of sources below has the licences.

![Drawings and photographs with their right and wrong names]({FAILURES_FILE})
"""


@dataclass(frozen=True)
class Failures:
    """The failures of one kind, widest margins first, and how many pictures there were."""

    shown: list[Confusion]
    n_right: int
    n: int
    n_names: int

    def heading(self, kind: str) -> str:
        """The heading of their pictures."""
        return f"{kind}: {self.n_right:,} of {self.n:,} named right, among {self.n_names:,} names"


def failures_of(model: EvaluatedModel, proof_set: ProofSet, kind: str) -> Failures | None:
    """Name the pictures of one of KINDS; None if the proof set has none."""
    sources = [one for one in proof_set.sources if one.split == PROOF and one.kind in KINDS[kind]]
    if not sources:
        return None
    names = sorted({item.label for one in sources for item in one.items})
    rows = class_embeddings(model.encoder, model.tokenizer, names, model.templates)
    shown: list[Confusion] = []
    n = n_right = 0
    for packed in _sampled(sources, kind, proof_set.image_size):
        images = embed_images(model.encoder, packed.images, model.image_spec)
        accepted = accepted_labels(packed.images, [item.label for item in packed.items])
        best = (images @ rows.T).argmax(axis=1)
        n_right += int(relevance(accepted, names)[np.arange(len(best)), best].sum())
        n += len(best)
        shown += widest_margins(EmbeddedSource(packed, images, names, rows, accepted), model.logit_scale)
    widest = sorted(shown, key=lambda one: (-one.margin, one.source.name))
    return Failures(widest[:N_SHOWN], n_right, n, len(names))


def all_failures(model: EvaluatedModel, proof_set: ProofSet) -> dict[str, Failures]:
    """The failures of each of KINDS that the proof set has."""
    found = {kind: failures_of(model, proof_set, kind) for kind in KINDS}
    return {kind: one for kind, one in found.items() if one is not None}


def failures_picture(found: Mapping[str, Failures], name: str) -> bytes:
    """PNG of at most `pictures.MAX_BYTES`. The same failures always give the same bytes."""
    return first_within(_sheets(found, name))


def failures_note(found: Mapping[str, Failures]) -> str:
    """The paragraphs of a model card with the figures and the picture; empty without failures."""
    counts = "\n".join(f"- {one.heading(kind)}" for kind, one in found.items())
    return NOTE.format(counts=counts) if found else ""


def _sampled(sources: Sequence[ProofSource], kind: str, size: int) -> Iterator[PackedSource]:
    """The first picture of each photograph, and of drawings about N_DRAWINGS, evenly drawn."""
    total = sum(len(one.items) for one in sources)
    step = max(1, total // N_DRAWINGS)
    start = 0
    for one in sources:
        kept = range(-start % step, len(one.items), step) if kind == "Drawings" else range(1)
        start += len(one.items)
        if kept:
            images = np.stack([decode_picture(one.pictures[index], size, size) for index in kept])
            items = tuple(one.items[index] for index in kept)
            yield PackedSource(one.name, replace(one.entry(size), n=len(items)), images, items)


def _sheets(found: Mapping[str, Failures], name: str) -> Iterator[Image.Image]:
    for n in range(N_SHOWN, 0, -COLUMNS):
        groups = {one.heading(kind): [_cell(shown) for shown in one.shown[:n]] for kind, one in found.items()}
        yield contact_sheet(
            f"{name}: worst failures", groups, columns=COLUMNS, tile_px=TILE, n_lines=3, note=LEGEND
        )


def _cell(one: Confusion) -> Cell:
    return Cell(
        pictures=(one.source.images[one.index],),
        lines=(
            Line(one.right, is_bold=True),
            Line(one.given, WRONG, tail=f" {one.probability:.0%}"),
            Line(one.source.author, PALE),
        ),
    )
