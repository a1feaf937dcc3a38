"""Cards with the authors and licences of a proof set's pictures."""

from collections.abc import Mapping

from diptych_training.data.packed import SourceEntry
from diptych_training.data.pictograms.lists import NAMES_CREDIT

CARD = """# Proof set of {name}

{n_proof:,} openly licensed images with their texts, to prove and to judge models on, and {n_rehearsal:,}
others to rehearse and to calibrate with; {size} x {size} pixels. It comes with bundles of diptych as
`proof_set.npz`. The split `validation` has the images of the proof: do not train on them.

The images belong to their authors and stay under their licences:

| source | split | kind | images | author | licence |
|---|---|---|---|---|---|
{rows}
{names}"""


def card_text(name: str, size: int, entries: Mapping[str, SourceEntry]) -> str:
    """The card of an unpacked proof set, in Markdown."""
    ordered = sorted(entries.items(), key=lambda pair: (pair[1].split != "validation", pair[0]))
    n_of = {
        split: sum(entry.n for _, entry in ordered if entry.split == split)
        for split in ("validation", "train")
    }
    rows = [
        f"| {source} | {entry.split} | {entry.kind} | {entry.n:,} "
        f"| {_cell(entry.author)} | {_cell(entry.licence)} |"
        for source, entry in ordered
    ]
    has_emoji = any(entry.kind == "emoji" for entry in entries.values())
    return CARD.format(
        name=name,
        n_proof=n_of["validation"],
        n_rehearsal=n_of["train"],
        size=size,
        rows="\n".join(rows),
        names=f"\n{NAMES_CREDIT}\n" if has_emoji else "",
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
