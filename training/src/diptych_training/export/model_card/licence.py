"""The licence of weights, derived from the licences recorded for their training data, and credits of sources.

A cautious rule, not legal advice: the user may give another licence at export.
"""

from dataclasses import dataclass

from diptych_training.checkpoint import TrainedRun
from diptych_training.data.packed import PackedDataset, SourceEntry, Split
from diptych_training.data.pictograms.lists import NAMES_CREDIT
from diptych_training.evaluate.proof_set.proof_set import PROOF, REHEARSAL, ProofSet, origins_table
from diptych_training.evaluate.results import Evaluation
from diptych_training.export.model_card.training_notes import rehearsed_set
from diptych_training.provenance import BY_STRICTNESS, RANKS, Provenance
from diptych_training.reports.markdown import markdown_table

UNKNOWN = "unknown"
N_NAMED = 3


@dataclass(frozen=True)
class Licence:
    """A licence identifier, or `unknown`, and the reason; no reason if the user gave it."""

    name: str
    reason: str = ""

    def sentence(self) -> str:
        """Sentence for a model card."""
        if self.name == UNKNOWN:
            return f"The licence of the weights is unknown{f': {self.reason}' if self.reason else ''}."
        return f"The weights are published under {self.name}{f': {self.reason}' if self.reason else ''}."


def recorded_licence(learned: Provenance | None) -> Licence:
    """The common licence of all sources, or the strictest one.

    `unknown` if a licence is not recorded, or if it is unknown which one is the strictest.
    """
    if learned is None:
        return Licence(UNKNOWN, "the run does not record what it learned from")
    licences = learned.licences()
    silent = [source for source, licence in licences.items() if licence in (None, "", UNKNOWN)]
    if silent:
        return Licence(UNKNOWN, f"none is recorded for {_named([f'`{source}`' for source in silent])}")
    names = {licence.casefold(): licence for licence in licences.values() if licence is not None}
    if len(names) == 1:
        return Licence(next(iter(names.values())), "the licence of all training data")
    if not names.keys() <= RANKS.keys():
        known = _named(sorted(names.values()))
        return Licence(UNKNOWN, f"the training data has {known}, and it is unknown which is the strictest")
    strictest = BY_STRICTNESS[max(RANKS[name] for name in names)]
    return Licence(strictest, "the strictest licence of the training data")


def _named(all_of_them: list[str]) -> str:
    n_more = len(all_of_them) - N_NAMED
    return ", ".join(all_of_them[:N_NAMED]) + (f" and {n_more} more" if n_more > 0 else "")


SPLITS: tuple[Split, ...] = ("train", "validation")
UNNAMED = ("", "unknown")
SHOWN_NOTE = "Sources marked `shown` were not trained on: `confusions.png` contains drawings from them."


PROOF_SET_NOTE = """`proof_set.npz` has {n_proof:,} openly licensed images{crops} with their texts, on which
models that are made from this one are proven and judged{rehearsal}.
"""


def proof_set_note(proof_set: ProofSet) -> str:
    """Paragraph on the proof set of a bundle."""
    n = proof_set.n_pictures(REHEARSAL)
    others = f", and {n:,} others{_crops(proof_set, REHEARSAL)} to rehearse and to calibrate with"
    return PROOF_SET_NOTE.format(
        n_proof=proof_set.n_pictures(PROOF), crops=_crops(proof_set, PROOF), rehearsal=others if n else ""
    )


def _crops(proof_set: ProofSet, split: Split) -> str:
    """How many of the pictures are crops of photographs, and of how many."""
    n_crops = sum(len(one.items) for one in proof_set.sources if one.split == split and one.kind == "pairs")
    n = proof_set.n_photographs(split)
    noun = "photograph" if n == 1 else "photographs"
    return f" ({n_crops:,} of them crops of {n:,} {noun})" if n else ""


def credits_of(
    own: PackedDataset,
    run: TrainedRun,
    shown: list[tuple[str, SourceEntry]],
    proof_set: ProofSet | None = None,
) -> str:
    """Table of all sources that the weights were trained or selected on, that are `shown`, or whose pictures
    are in the proof set only.

    It has authors and licences. Where photographs are from follows, and where names of emoji are from.
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
    sections = [markdown_table(["source", "split", "kind", "images", "author", "licence"], rows, n_words=6)]
    sections += [SHOWN_NOTE] if shown else []
    sections += [photographs] if (photographs := origins_table(name for name, _, _ in listed)) else []
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
    return [name, split, entry.kind, f"{entry.n:,}", entry.author, entry.licence]
