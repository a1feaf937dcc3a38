"""What a card shows beside its numbers: curves, worst confusions, what was tried; makes none of them."""

import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from pydantic import ValidationError

from diptych_training.ablate.results import Ablation
from diptych_training.ablate.table import ablation_table, chance, differing
from diptych_training.checkpoint import TrainedRun
from diptych_training.config import TrainConfig
from diptych_training.config.overrides import apply_override
from diptych_training.errors import ExportError, TrainingConfigError
from diptych_training.evaluate.results import CONFUSIONS_FILE

CURVES_FILE, ABLATION_FILE = "curves.png", "ablation.json"
PNG = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 2_000_000  # of a picture: a bundle goes to every server that serves it


@dataclass(frozen=True)
class Shown:
    """The pictures, and the table, that a bundle carries; none of them needs to be there."""

    curves: Path | None = None
    confusions: Path | None = None
    ablation: Ablation | None = None

    def check(self, run: TrainedRun) -> None:
        """Raises ExportError for a file that is no such picture, or a table of other data or of nothing."""
        for file in (self.curves, self.confusions):
            if file is not None:
                _require_picture(file)
        if self.ablation is not None:
            _require_table(self.ablation, run)

    def write(self, folder: Path) -> None:
        """Copy them into a bundle's folder, under the names that its card shows."""
        for file, name in ((self.curves, CURVES_FILE), (self.confusions, CONFUSIONS_FILE)):
            if file is not None:
                shutil.copyfile(file, folder / name)
        if self.ablation is not None:
            (folder / ABLATION_FILE).write_text(
                self.ablation.model_dump_json(indent=1) + "\n", encoding="utf-8"
            )

    def curves_paragraph(self) -> str:
        """For a card, as the other two; nothing if there is nothing."""
        if self.curves is None:
            return ""
        return f"![Loss, validation, learning rate and logit scale of the run]({CURVES_FILE})\n\n"

    def confusions_paragraph(self) -> str:
        """Beneath the tables of the evaluation that it was drawn in."""
        if self.confusions is None:
            return ""
        return (
            "\nIts worst confusions, on the sources of the tables above: images whose wrong label is\n"
            "furthest above the right one, first the worst one of each source, then a second one where\n"
            "there is room: at most 10 emoji, 25 icons and 25 of other pairs. Each as the model saw it,\n"
            "with the right label, the wrong one and its probability among all classes, and a training\n"
            "image of the wrong label where there is one. Whose drawings these are is in the table of\n"
            "sources below and in `DATA_CARD.md`.\n\n"
            f"![Images with their right and wrong labels]({CONFUSIONS_FILE})\n"
        )

    def tried_section(self, run: TrainedRun) -> str:
        """What each change of the recipe did, and what such a table is worth."""
        if self.ablation is None:
            return ""
        changes = ", ".join(f"`{change}`" for change in self.ablation.changes)
        template = Template((files(__package__) / "tried.md").read_text(encoding="utf-8"))
        section = template.substitute(
            recipe=self.ablation.recipe,
            beside=f" beside what all of them change ({changes})" if changes else "",
            budget=_budget(self.ablation),
            chance=chance(self.ablation),
            own=f"{run.step * run.config.run.batch_size:,}",
            file=ABLATION_FILE,
            table=ablation_table(self.ablation),
        )
        told = [*differing(self.ablation), *_taken(self.ablation, run.config)]
        return section + "".join(f"{sentence}\n\n" for sentence in told)


NOTHING = Shown()


def _budget(ablation: Ablation) -> str:
    finished = ablation.finished()
    seen = sorted({outcome.n_samples for outcome in finished})
    those = "All" if len(finished) == len(ablation.outcomes) else "All that are finished"
    if len(seen) == 1:
        return f"{those} saw the same number of images, {seen[0]:,}"
    return f"{those} saw {seen[0]:,} to {seen[-1]:,} images, as the table says"


def _taken(ablation: Ablation, config: TrainConfig) -> list[str]:
    """A sentence on the variants whose changes the recipe has, every one; none where it has no variant's."""
    names = [f"`{one.name}`" for one in ablation.outcomes if one.changes and _has(config, one.changes)]
    if not names:
        return []
    return [
        f"The recipe of this model has the changes of {', '.join(names)}, and those of no other variant as a "
        "whole."
    ]


def _has(config: TrainConfig, changes: tuple[str, ...]) -> bool:
    """Whether the changes change nothing of it; seeds are no part of a recipe's worth."""
    if all(change.startswith("seed=") for change in changes):
        return False
    tables = config.model_dump(mode="json", exclude_none=True)
    try:
        for change in changes:
            apply_override(tables, change)
        return TrainConfig.model_validate(tables) == config
    except (TrainingConfigError, ValidationError):  # it makes no sense of them: it has other parts
        return False


def _require_picture(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            start, n_bytes = opened.read(len(PNG)), file.stat().st_size
    except OSError as error:
        raise ExportError(f"{file}: cannot be read: {error.strerror}") from error
    if start != PNG:
        raise ExportError(f"{file} is no PNG")
    if n_bytes > MAX_BYTES:
        raise ExportError(f"{file} has {n_bytes:,} bytes, the limit for a picture is {MAX_BYTES:,}")


def _require_table(ablation: Ablation, run: TrainedRun) -> None:
    if not ablation.finished():
        raise ExportError(f"no variant of the ablation {ablation.plan} is finished: there is nothing to show")
    own = None if run.learned is None else run.learned.own.name
    if None not in (own, ablation.dataset) and own != ablation.dataset:
        raise ExportError(
            f"the ablation {ablation.plan} is on data set {ablation.dataset!r}, the run is on {own!r}"
        )
