"""`diptych-train data near-duplicates`: list training pairs whose images nearly equal evaluation images."""

import argparse
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from pathlib import Path

from diptych_training.data.pairs.excluded import require_matching_sources
from diptych_training.data.pairs.pair import Entry, Shard, Unusable
from diptych_training.data.pairs.tools.duplicate_finder import (
    DEFAULT_THRESHOLD,
    NearDuplicate,
    NearDuplicateFinder,
    evaluation_images,
)
from diptych_training.data.pairs.tools.flags import SOURCES_HELP, add_source_flags, positive, source_flags
from diptych_training.errors import DataError
from diptych_training.files import open_atomic
from diptych_training.progress import progress_bar

COLUMNS = ("name", "cosine", "evaluation_image", "text", "evaluation_text")
N_SHOWN = 10


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `near-duplicates` to the commands of `data`."""
    parser = subparsers.add_parser(
        "near-duplicates",
        help="list training images that nearly equal evaluation images, so that they can be left out",
        description="Compares every training image with all evaluation images by 16 x 16 cells of colour, "
        "and writes a list for `--exclude` of `data shards` and for `data.pairs.exclude` of a recipe.",
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=SOURCES_HELP)
    parser.add_argument(
        "--against",
        nargs="+",
        required=True,
        metavar="SOURCE",
        help="sources of the evaluation images; of a packed data set, its split `eval`",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="file for the list, with tab-separated columns",
    )
    parser.add_argument(
        "--threshold",
        type=_cosine,
        default=DEFAULT_THRESHOLD,
        metavar="COSINE",
        help=f"least cosine of near duplicates (default {DEFAULT_THRESHOLD})",
    )
    parser.add_argument("--mirrored", action="store_true", help="also compare with mirror images")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="threads that decode")
    add_source_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the list and print a summary, including what could not be compared."""
    flags = source_flags(args)
    against = source_flags(args, packed_split="eval").reader.shards(args.against)
    shards = flags.reader.shards(args.sources)
    require_matching_sources(flags.excluded, shards)
    refused: Counter[str] = Counter()

    def report_unusable(entry: Unusable) -> None:
        refused.update([entry.reason])

    with progress_bar(desc="evaluation images", unit="image") as bar:
        images = evaluation_images(_entries(against), flags.limits, args.jobs, bar.update, report_unusable)
    if not images.names:
        raise DataError(f"--against {' '.join(args.against)}: no image can be decoded")
    finder = NearDuplicateFinder(
        images, flags.limits, threshold=args.threshold, mirrored=args.mirrored, n_threads=args.jobs
    )
    wanted = (entry for entry in _entries(shards, flags.excluded) if entry.name not in flags.excluded)
    with progress_bar(desc="training images", unit="image") as bar:
        n_near = _write(args.out, finder.find(wanted, bar.update, report_unusable))
        n_compared = bar.n
    print(
        f"{n_near:,} of {n_compared:,} training images are near duplicates of one of "
        f"{len(images.names):,} evaluation images: {args.out}"
    )
    for reason, n in refused.most_common(N_SHOWN):
        print(f"  {n:>7,} not compared: {reason}")
    return 0


def _entries(shards: Iterable[Shard], excluded: Set[str] = frozenset()) -> Iterator[Entry]:
    for shard in shards:
        yield from shard.entries(excluded=excluded)


def _write(file: Path, found: Iterable[NearDuplicate]) -> int:
    n_near = 0
    with open_atomic(file) as out:
        out.write(("\t".join(COLUMNS) + "\n").encode())
        for near in found:
            fields = (f"{near.cosine:.4f}", *map(_line, (near.other, near.text, near.other_text)))
            out.write(b"\t".join([_name(near.name), *(field.encode() for field in fields)]) + b"\n")
            n_near += 1
    return n_near


def _name(name: str) -> bytes:
    """Encode a name so that it can be read back: names of files need not be UTF-8."""
    if any(sign in name for sign in "\t\r\n"):
        raise DataError(f"{name!r}: a name with tabs or line breaks cannot be written to a list")
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise DataError(f"{name!r}: a name with lone surrogates cannot be written to a list") from None


def _line(text: str) -> str:
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _cosine(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{number:g} is not above 0 and at most 1")
    return number
