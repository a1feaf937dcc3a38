"""`diptych-train data shards`: write pairs from any sources to tar shards."""

import argparse
import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from diptych_training.data.pairs.excluded import require_matching_sources
from diptych_training.data.pairs.image_files import ImageCheck, plain_spec
from diptych_training.data.pairs.pair import Shard
from diptych_training.data.pairs.sources.shard_index import ShardIndex
from diptych_training.data.pairs.stream.order import Order
from diptych_training.data.pairs.tools.flags import (
    SOURCES_HELP,
    SourceFlags,
    add_source_flags,
    natural,
    positive,
    share,
    source_flags,
)
from diptych_training.data.pairs.tools.write_shards import ShardPlan, write_shards
from diptych_training.errors import DataError
from diptych_training.progress import progress_bar

MB = 1_000_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `shards` to the commands of `data`."""
    parser = subparsers.add_parser(
        "shards",
        help="write image-text pairs of any sources into tar shards",
        description="Reads pairs, decodes every image once, and writes those that can be used into tar "
        "shards in WebDataset's layout, with an index. Repeat the command to continue a stopped run.",
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=SOURCES_HELP)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the shards")
    parser.add_argument("--name", default="pairs", help="first part of the shards' names")
    parser.add_argument(
        "--pairs-per-shard",
        type=positive,
        default=10_000,
        metavar="N",
        help="maximum pairs of a shard (default 10000)",
    )
    parser.add_argument(
        "--mb-per-shard",
        type=positive,
        default=500,
        metavar="N",
        help="maximum size of a shard in MB (default 500)",
    )
    parser.add_argument(
        "--size",
        type=positive,
        metavar="PX",
        help="shrink images whose shorter side is longer than this (default: keep all files unchanged)",
    )
    parser.add_argument(
        "--shuffle",
        type=natural,
        default=10_000,
        metavar="N",
        help="pairs held in memory to be shuffled, besides the random order of the sources' parts; "
        "0: keep the order",
    )
    parser.add_argument("--seed", type=natural, default=0, help="seed of the order")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="threads that decode")
    parser.add_argument(
        "--max-skipped",
        type=share,
        default=0.01,
        metavar="SHARE",
        help="share of the entries that may be unusable",
    )
    add_source_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the shards with a progress bar, and print a summary."""
    if not NAME.fullmatch(args.name):
        raise DataError(f"--name {args.name!r} must match {NAME.pattern}: it is part of file names")
    flags = source_flags(args)
    shards = flags.reader.shards(args.sources)
    require_matching_sources(flags.excluded, shards)
    with progress_bar(desc=str(args.out), unit="pair") as bar:
        n_skipped = 0

        def on_progress(n_pairs: int, skipped: int) -> None:
            nonlocal n_skipped
            n_skipped += skipped
            bar.set_postfix(skipped=n_skipped, refresh=False)
            bar.update(n_pairs)

        index = write_shards(args.out, shards, _plan(args, flags, shards), on_progress)
    print(_summary(args.out, index))
    return 0


def _plan(args: argparse.Namespace, flags: SourceFlags, shards: Sequence[Shard]) -> ShardPlan:
    locations = "\n".join(shard.location for shard in shards)
    order = Order(args.seed, 1, max(1, args.shuffle), is_shuffled=args.shuffle > 0)
    return ShardPlan(
        name=args.name,
        pairs_per_shard=args.pairs_per_shard,
        bytes_per_shard=args.mb_per_shard * MB,
        order=order,
        check=ImageCheck(plain_spec(args.size or 224), flags.limits, args.size),
        made_from={
            "sources": list(args.sources),
            "source_parts": hashlib.sha256(_bytes(locations)).hexdigest(),
            "excluded": hashlib.sha256(_bytes("\n".join(sorted(flags.excluded)))).hexdigest(),
            **{key: getattr(args, key) for key in OPTIONS},
        },
        max_skipped=args.max_skipped,
        excluded=flags.excluded,
        n_threads=args.jobs,
    )


OPTIONS = (
    "name", "pairs_per_shard", "mb_per_shard", "size", "shuffle", "seed", "image_column", "caption_columns",
    "images_root", "caption_key", "max_image_bytes", "max_image_px",
)  # fmt: skip


def _summary(out: Path, index: ShardIndex) -> str:
    skipped = Counter(index.skipped_at_end)
    for shard in index.shards:
        skipped.update(shard.skipped)
    lines = [
        f"{out}: {index.n_pairs:,} pairs in {len(index.shards):,} shards, {index.n_bytes / MB:,.1f} MB",
        *(f"  {n:>9,} skipped: {reason}" for reason, n in skipped.most_common()),
    ]
    return "\n".join(lines)


def _bytes(names: str) -> bytes:
    """Names of files need not be UTF-8."""
    return names.encode("utf-8", "surrogateescape")
