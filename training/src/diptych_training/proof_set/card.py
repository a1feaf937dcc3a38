"""Cards with the authors and licences of a proof set's pictures."""

from collections.abc import Mapping

from diptych_training.data.packed import SourceEntry
from diptych_training.data.pictograms.lists import NAMES_CREDIT

CARD = """# Proof set of {name}

{n_proof:,} openly licensed images with their texts, to prove and to judge models on, and {n_rehearsal:,}
others to rehearse and to calibrate with; {size} x {size} pixels. It comes with bundles of diptych as
`proof_set.npz`. The split `validation` has the images of the proof: do not train on them.

The images belong to their authors and stay under their licences:

{sources}
{names}"""
TITLE_ROWS = "| source | split | kind | images | author | licence |\n|---|---|---|---|---|---|"


def card_text(name: str, size: int, entries: Mapping[str, SourceEntry]) -> str:
    """The card of an unpacked proof set, in Markdown."""
    n_of = {
        split: sum(entry.n for entry in entries.values() if entry.split == split)
        for split in ("validation", "train")
    }
    has_emoji = any(entry.kind == "emoji" for entry in entries.values())
    return CARD.format(
        name=name,
        n_proof=n_of["validation"],
        n_rehearsal=n_of["train"],
        size=size,
        sources=sources_table(entries),
        names=f"\n{NAMES_CREDIT}\n" if has_emoji else "",
    )


def sources_table(entries: Mapping[str, SourceEntry]) -> str:
    """Markdown table of the sources, those of the proof first."""
    ordered = sorted(entries.items(), key=lambda pair: (pair[1].split != "validation", pair[0]))
    rows = [
        f"| {source} | {entry.split} | {entry.kind} | {entry.n:,} "
        f"| {_cell(entry.author)} | {_cell(entry.licence)} |"
        for source, entry in ordered
    ]
    return "\n".join([TITLE_ROWS, *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
