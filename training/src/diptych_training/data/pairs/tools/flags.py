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
    "path or URL of tar shards, a CSV, TSV or Parquet file, a folder of images beside text files, or a "
    "packed data set; may have wildcards and braces such as shards-{0000..0099}.tar"
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
        help="key of the text in JSON files beside images",
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


def source_flags(args: argparse.Namespace, packed_split: str = "train") -> SourceFlags:
    """Read the flags. DataError for a list of excluded pairs that cannot be read."""
    limits = ImageLimits(args.max_image_bytes, args.max_image_px, IMAGE_GUARD)
    columns = Columns(args.image_column, tuple(args.caption_columns))
    reader = SourceReader(columns, args.images_root, args.caption_key, limits, packed_split)
    return SourceFlags(reader, limits, read_excluded(args.exclude))


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
