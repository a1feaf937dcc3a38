"""Pictures of a model card: training curves and confusions."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from diptych_training.errors import ExportError
from diptych_training.evaluate.results import CONFUSIONS_FILE

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
