"""Authors and licences of the sources that a model card mentions or shows."""

from diptych_training.checkpoint import TrainedRun
from diptych_training.data.packed import PackedDataset, SourceEntry, Split
from diptych_training.data.pictograms.lists import NAMES_CREDIT
from diptych_training.evaluate.results import Evaluation
from diptych_training.evaluate.table import markdown_table
from diptych_training.export.model_card.training_notes import rehearsed_set

SPLITS: tuple[Split, ...] = ("train", "validation")
UNNAMED = ("", "unknown")
SHOWN_NOTE = "Sources marked `shown` were not trained on: `confusions.png` contains drawings from them."


def credits_of(own: PackedDataset, run: TrainedRun, shown: list[tuple[str, SourceEntry]]) -> str:
    """Table of all sources that the weights were trained or selected on, or that are `shown`.

    It has authors and licences; a sentence on the origin of emoji names follows if there are any.
    """
    listed = [(name, entry, str(entry.split)) for split in SPLITS for name, entry in own.listed(split)]
    for name in run.config.data.rehearsal:
        old = rehearsed_set(run, name)
        rehearsed = [] if old is None else old.listed("train")
        listed += [(source, entry, f"rehearsed: {name}") for source, entry in rehearsed]
    listed += [(name, entry, f"{entry.split}, shown") for name, entry in shown]
    rows = [_row(*one) for one in listed]
    sections = [markdown_table(["source", "split", "kind", "images", "author", "licence"], rows)]
    sections += [SHOWN_NOTE] if shown else []
    sections += [NAMES_CREDIT] if any(entry.kind == "emoji" for _, entry, _ in listed) else []
    return "\n\n".join(sections)


def evaluation_sources(
    evaluation: Evaluation | None, dataset: PackedDataset, own: PackedDataset
) -> list[tuple[str, SourceEntry]]:
    """The sources of an evaluation that are not among the run's own."""
    if evaluation is None or (dataset.name == own.name and evaluation.split in SPLITS):
        return []
    names = {result.source for result in evaluation.sources}
    return [(name, entry) for name, entry in dataset.listed(evaluation.split) if name in names]


def shared_authors_note(own: PackedDataset) -> str:
    """A sentence if validation and training have sources of one kind by the same author; else empty."""
    kin = []
    for name, entry in own.listed("validation"):
        known = [f"`{other}`" for other, one in own.listed("train", entry.kind) if one.author == entry.author]
        if known and entry.author not in UNNAMED:
            kin.append(f"`{name}` is by the author of {', '.join(known)}")
    if not kin:
        return ""
    return f" {'; '.join(kin)}, which it was trained on: expect lower figures on sources by other authors."


def _row(name: str, entry: SourceEntry, split: str) -> list[str]:
    cells = (name, split, entry.kind, f"{entry.n:,}", entry.author, entry.licence)
    return [cell.replace("|", "\\|") for cell in cells]
