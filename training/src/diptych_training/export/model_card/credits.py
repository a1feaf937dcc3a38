"""Whose work a model card shows or speaks of, and under which licences; knows nothing of models."""

from diptych_training.checkpoint import TrainedRun
from diptych_training.data.packed import PackedDataset, SourceEntry, Split
from diptych_training.data.pictograms.lists import NAMES_CREDIT
from diptych_training.evaluate.results import Evaluation
from diptych_training.evaluate.table import markdown_table
from diptych_training.export.model_card.training_notes import rehearsed_set

SPLITS: tuple[Split, ...] = ("train", "validation")
UNNAMED = ("", "unknown")
SHOWN_NOTE = "Nothing was learned from what is `shown`: `confusions.png` has drawings of such sources."


def credits_of(own: PackedDataset, run: TrainedRun, shown: list[tuple[str, SourceEntry]]) -> str:
    """Every source that the weights learned from, that a choice was made on, or that is `shown`, with author
    and licence, and where the names of emoji are from."""
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


def only_shown(
    evaluation: Evaluation | None, dataset: PackedDataset, own: PackedDataset
) -> list[tuple[str, SourceEntry]]:
    """The sources of an evaluation that are not listed anyway as those of the run."""
    if evaluation is None or (dataset.name == own.name and evaluation.split in SPLITS):
        return []
    names = {result.source for result in evaluation.sources}
    return [(name, entry) for name, entry in dataset.listed(evaluation.split) if name in names]


def kin_of_training(own: PackedDataset) -> str:
    """A sentence if validation sources are by authors that training has sources of the same kind by."""
    kin = []
    for name, entry in own.listed("validation"):
        known = [f"`{other}`" for other, one in own.listed("train", entry.kind) if one.author == entry.author]
        if known and entry.author not in UNNAMED:
            kin.append(f"`{name}` is by the author of {', '.join(known)}")
    if not kin:
        return ""
    return (
        f" {'; '.join(kin)}, which it learned from: do not expect these figures on sources that it never saw."
    )


def _row(name: str, entry: SourceEntry, split: str) -> list[str]:
    cells = (name, split, entry.kind, f"{entry.n:,}", entry.author, entry.licence)
    return [cell.replace("|", "\\|") for cell in cells]
