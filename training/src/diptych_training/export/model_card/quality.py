"""The quality section of a model card: weak spots, what a refresh changed, and pictures."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from diptych_training.data.packed import Kind
from diptych_training.errors import ExportError
from diptych_training.evaluate.results import CONFUSIONS_FILE, KINDS, Evaluation, SourceResult
from diptych_training.evaluate.table import TITLES
from diptych_training.schema import Frozen

N_WEAKEST: dict[Kind, int] = {"emoji": 1, "icons": 5, "pairs": 5}
NEAR = 0.05  # top-1 margin below which a source is hardly better than its pixel floor


def weak_spots(evaluation: Evaluation) -> str:
    """List items: the sources with the lowest top-1, and those below or near their pixel floors."""
    weakest = [words for kind in KINDS if (words := _weakest(evaluation.of_kind(kind), kind))]
    items = [f"Lowest top-1 on `{evaluation.split}`: {'; '.join(weakest)}."] if weakest else []
    items += _floors(evaluation)
    return "".join(f"- {item}\n" for item in items)


def _weakest(results: list[SourceResult], kind: Kind) -> str:
    """The lowest sources of a kind, at most half of them: a table already lists all."""
    lowest = sorted(results, key=_top1)[: min(N_WEAKEST[kind], len(results) // 2)]
    named = ", ".join(f"`{result.source}` ({_top1(result):.3f})" for result in lowest)
    return f"of {len(results)} {TITLES[kind].lower()} on {named}" if lowest else ""


def _floors(evaluation: Evaluation) -> list[str]:
    rated = sorted(
        (_top1(result) - result.pixel_floor, _against_floor(result, result.pixel_floor))
        for result in evaluation.sources
        if result.pixel_floor is not None
    )
    groups = {
        "No better than the nearest training image by pixels on": [w for by, w in rated if by <= 0],
        f"Less than {100 * NEAR:.0f} points (hundredths) better than the nearest training image on": [
            words for by, words in rated if 0 < by < NEAR
        ],
    }
    return [f"{words} {', '.join(named)}." for words, named in groups.items() if named]


def _against_floor(result: SourceResult, floor: float) -> str:
    return f"`{result.source}` ({_top1(result):.3f} against {floor:.3f})"


def _top1(result: SourceResult) -> float:
    return result.all.zero_shot[1]


class Change(Frozen):
    """Zero-shot top-1 of the old and of the new model on `n_images` pictures, from 0 to 1."""

    n_images: int
    old_top1: float
    top1: float

    def sentence(self, pictures: str) -> str:
        """Both figures in words."""
        return (
            f"{100 * self.old_top1:.1f} before and {100 * self.top1:.1f} now on {self.n_images:,} {pictures}"
        )


class Refreshed(Frozen):
    """A refresh of the version `started_from` with `n_pairs` pairs, held-out ones included.

    `shipped` are the pairs that come with the model; `own` is None if no pair was held out, and of models
    that learned without a fold each if `in_folds`. `id` is that of the refresh, `alpha` the weight of what
    was learned.
    """

    id: str
    alpha: float
    started_from: str = Field(serialization_alias="from")
    n_pairs: int
    shipped: Change
    own: Change | None = None
    in_folds: bool = False

    def paragraph(self) -> str:
        """The figures for a model card."""
        found = [self.shipped.sentence("pictures that come with the model")]
        if self.own is not None:
            how = " in folds, each by a model that had not seen it" if self.in_folds else ""
            found = [self.own.sentence(f"pictures that were held out{how}"), *found]
        return (
            f"It is a refresh of `{self.started_from}` with {self.n_pairs:,} pairs. "
            "Zero-shot top-1 in percent: "
            f"{'; '.join(found)}.\n"
        )


CURVES_FILE = "curves.png"
PNG = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 2_000_000  # of a picture: every server that serves the bundle gets a copy


@dataclass(frozen=True)
class CardAssets:
    """The pictures of a bundle; each is optional."""

    curves: Path | None = None
    confusions: Path | None = None

    def check(self) -> None:
        """Raise ExportError for a file that is not a PNG or is too large."""
        for file in (self.curves, self.confusions):
            if file is not None:
                _require_picture(file)

    def write(self, folder: Path) -> None:
        """Copy the pictures into a bundle's folder, under the names that its card uses."""
        for file, name in ((self.curves, CURVES_FILE), (self.confusions, CONFUSIONS_FILE)):
            if file is not None:
                shutil.copyfile(file, folder / name)

    def curves_paragraph(self) -> str:
        """The card's paragraph with the curves; empty without them."""
        if self.curves is None:
            return ""
        return f"![Loss, validation, learning rate and logit scale of the run]({CURVES_FILE})\n\n"

    def confusions_paragraph(self) -> str:
        """The card's paragraph with the confusions, after the evaluation's tables; empty without them."""
        if self.confusions is None:
            return ""
        return (
            "\nThe worst confusions on the sources of the tables above: images whose wrong label scores\n"
            "furthest above the right one; first the worst of each source, then a second one if there is\n"
            "room: at most 10 emoji, 25 icons and 25 other pairs. Each image is shown as the model saw it,\n"
            "with the right label, the wrong label and its probability among all classes, and a training\n"
            "image of the wrong label if there is one. The table of sources below and `DATA_CARD.md` name\n"
            "the authors of these drawings.\n\n"
            f"![Images with their right and wrong labels]({CONFUSIONS_FILE})\n"
        )


NO_ASSETS = CardAssets()


def _require_picture(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            start, n_bytes = opened.read(len(PNG)), file.stat().st_size
    except OSError as error:
        raise ExportError(f"{file}: cannot be read: {error.strerror}") from error
    if start != PNG:
        raise ExportError(f"{file} is not a PNG")
    if n_bytes > MAX_BYTES:
        raise ExportError(f"{file} has {n_bytes:,} bytes, the limit for a picture is {MAX_BYTES:,}")
