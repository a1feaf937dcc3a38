"""What a card shows beside its numbers: curves and worst confusions; makes none of them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from diptych_training.errors import ExportError
from diptych_training.evaluate.results import CONFUSIONS_FILE

CURVES_FILE = "curves.png"
PNG = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 2_000_000  # of a picture: a bundle goes to every server that serves it


@dataclass(frozen=True)
class Shown:
    """The pictures that a bundle carries; neither needs to be there."""

    curves: Path | None = None
    confusions: Path | None = None

    def check(self) -> None:
        """Raises ExportError for a file that is no such picture."""
        for file in (self.curves, self.confusions):
            if file is not None:
                _require_picture(file)

    def write(self, folder: Path) -> None:
        """Copy them into a bundle's folder, under the names that its card shows."""
        for file, name in ((self.curves, CURVES_FILE), (self.confusions, CONFUSIONS_FILE)):
            if file is not None:
                shutil.copyfile(file, folder / name)

    def curves_paragraph(self) -> str:
        """For a card; nothing if there is nothing."""
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


NOTHING = Shown()


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
