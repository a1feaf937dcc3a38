"""Flags that commands over sources of pairs share."""

import argparse
from dataclasses import dataclass

from diptych.adapters.images.guards import IMAGE_GUARD
from diptych.bundle.image.preprocess import ImageLimits
from diptych_training.data.pairs.excluded import read_excluded
from diptych_training.data.pairs.pair import CAPTION_KEY
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.data.pairs.sources.table import Columns

SOURCES_HELP = (
    "path or URL of tar shards, a CSV, TSV, JSON Lines or Parquet file, a folder of images with captions "
    "next to or inside them, or a packed data set; may have wildcards and braces such as "
    "shards-{0000..0099}.tar"
)


def add_source_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags on reading sources, which are named like the keys of a recipe's `data.pairs`."""
    given = parser.add_argument_group("how sources are read")
    given.add_argument(
        "--image-column", metavar="NAME", help="column of tables with the image, or with its path or URL"
    )
    given.add_argument(
        "--caption-column",
        metavar="NAME",
        action="append",
        default=[],
        dest="caption_columns",
        help="column of tables with a text; may be repeated",
    )
    given.add_argument(
        "--images-root",
        metavar="DIR",
        help="folder that paths in tables start from (default: the table's folder)",
    )
    given.add_argument(
        "--caption-key",
        metavar="KEY",
        default=CAPTION_KEY,
        help="key of the text in JSON files next to images",
    )
    given.add_argument(
        "--max-image-bytes",
        type=positive,
        default=ImageLimits.max_bytes,
        metavar="N",
        help="maximum bytes of one image file",
    )
    given.add_argument(
        "--max-image-px",
        type=positive,
        default=ImageLimits.max_px,
        metavar="N",
        help="maximum pixels of one image",
    )
    given.add_argument(
        "--exclude",
        metavar="FILE",
        action="append",
        default=[],
        help="file with names of pairs to leave out; may be repeated",
    )


@dataclass(frozen=True)
class SourceFlags:
    """Values of the flags."""

    reader: SourceReader
    limits: ImageLimits
    excluded: frozenset[str]


@dataclass(frozen=True)
class ReadingOptions:
    """How sources are read: the values of the flags, or their defaults. `exclude` names files."""

    image_column: str | None = None
    caption_columns: tuple[str, ...] = ()
    images_root: str | None = None
    caption_key: str = CAPTION_KEY
    max_image_bytes: int = ImageLimits.max_bytes
    max_image_px: int = ImageLimits.max_px
    exclude: tuple[str, ...] = ()

    def open(self, packed_split: str = "train") -> SourceFlags:
        """A reader with these options. DataError for a list of excluded pairs that cannot be read."""
        limits = ImageLimits(self.max_image_bytes, self.max_image_px, IMAGE_GUARD)
        columns = Columns(self.image_column, self.caption_columns)
        reader = SourceReader(columns, self.images_root, self.caption_key, limits, packed_split)
        return SourceFlags(reader, limits, read_excluded(self.exclude))


def reading_options(args: argparse.Namespace) -> ReadingOptions:
    """The options that the flags of `add_source_flags` give."""
    return ReadingOptions(
        image_column=args.image_column,
        caption_columns=tuple(args.caption_columns),
        images_root=args.images_root,
        caption_key=args.caption_key,
        max_image_bytes=args.max_image_bytes,
        max_image_px=args.max_image_px,
        exclude=tuple(args.exclude),
    )


def source_flags(args: argparse.Namespace, packed_split: str = "train") -> SourceFlags:
    """Read the flags. DataError for a list of excluded pairs that cannot be read."""
    return reading_options(args).open(packed_split)


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def natural(text: str) -> int:
    """Parse a whole number from 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number


def share(text: str) -> float:
    """Parse a number of at least 0 and below 1."""
    number = float(text)
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{number:g} is not at least 0 and below 1")
    return number
