"""Authors and licences of the sources that a model card mentions or shows."""

from diptych_training.checkpoint import TrainedRun
from diptych_training.data.packed import PackedDataset, SourceEntry, Split
from diptych_training.data.pictograms.lists import NAMES_CREDIT
from diptych_training.evaluate.proof_set.proof_set import PROOF, REHEARSAL, ProofSet
from diptych_training.evaluate.results import Evaluation
from diptych_training.export.model_card.training_notes import rehearsed_set
from diptych_training.reports.markdown import markdown_table

SPLITS: tuple[Split, ...] = ("train", "validation")
UNNAMED = ("", "unknown")
SHOWN_NOTE = "Sources marked `shown` were not trained on: `confusions.png` contains drawings from them."


PROOF_SET_NOTE = """`proof_set.npz` has {n_proof:,} openly licensed images with their texts, on which models
that are made from this one are proven and judged{rehearsal}.
"""


def proof_set_note(proof_set: ProofSet) -> str:
    """Paragraph on the proof set of a bundle."""
    n = proof_set.n_pictures(REHEARSAL)
    rehearsal = f", and {n:,} others to rehearse and to calibrate with" if n else ""
    return PROOF_SET_NOTE.format(n_proof=proof_set.n_pictures(PROOF), rehearsal=rehearsal)


def credits_of(
    own: PackedDataset,
    run: TrainedRun,
    shown: list[tuple[str, SourceEntry]],
    proof_set: ProofSet | None = None,
) -> str:
    """Table of all sources that the weights were trained or selected on, that are `shown`, or whose pictures
    are in the proof set only.

    It has authors and licences; a sentence on the origin of emoji names follows if there are any.
    """
    listed = [(name, entry, str(entry.split)) for split in SPLITS for name, entry in own.listed(split)]
    for name in run.config.data.rehearsal:
        old = rehearsed_set(run, name)
        rehearsed = [] if old is None else old.listed("train")
        listed += [(source, entry, f"rehearsed: {name}") for source, entry in rehearsed]
    listed += [(name, entry, f"{entry.split}, shown") for name, entry in shown]
    if proof_set is not None:
        known = {name for name, _, _ in listed}
        entries = proof_set.entries(proof_set.image_size)
        listed += [(name, entry, "proof set") for name, entry in entries.items() if name not in known]
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
