"""`diptych-train data inspect`: report what sources of pairs contain, before training on them."""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import chain, islice
from statistics import median

from diptych.bundle.image.preprocess import ImageInfo
from diptych.errors import InputError
from diptych_training.data.pairs.excluded import require_matching_sources
from diptych_training.data.pairs.image_files import decoded_info, map_in_threads, plain_spec, run_isolated
from diptych_training.data.pairs.pair import Entry, Pair, Shard, Unusable
from diptych_training.data.pairs.remote.retry import retry
from diptych_training.data.pairs.remote.urls import exists, is_folder, join, open_url
from diptych_training.data.pairs.sources.shard_index import SHARD_INDEX_FILE, read_shard_index
from diptych_training.data.pairs.stream.order import Order, round_robin
from diptych_training.data.pairs.tools.flags import (
    SOURCES_HELP,
    SourceFlags,
    add_source_flags,
    positive,
    source_flags,
)
from diptych_training.errors import DataError
from diptych_training.progress import each, progress_bar

CHUNK = 1 << 20
N_EXAMPLES = 5
N_SIDE_BY_SIDE = 32  # streams of a source that are read in turn


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `inspect` to the commands of `data`."""
    parser = subparsers.add_parser(
        "inspect",
        help="report what sources of image-text pairs contain",
        description="Counts the parts of the sources, and decodes some pairs spread over all of them. "
        "Reports formats, sizes and texts, and how many pairs are excluded or cannot be used. A folder of "
        "`data shards` can be verified against its index.",
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=SOURCES_HELP)
    parser.add_argument(
        "--pairs",
        type=positive,
        default=500,
        metavar="N",
        help="pairs to decode of each source (default 500)",
    )
    parser.add_argument("--verify", action="store_true", help="read all shards and compare their sha256")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="threads that decode")
    add_source_flags(parser)
    parser.set_defaults(run=run)


@dataclass
class _Findings:
    """Findings in one source."""

    pairs: list[tuple[Pair, ImageInfo]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    excluded: set[str] = field(default_factory=set)
    is_all: bool = False


def run(args: argparse.Namespace) -> int:
    """Print the report. DataError, naming the file, for a shard that differs from its index."""
    flags = source_flags(args)
    parts = {source: flags.reader.shards([source]) for source in args.sources}
    require_matching_sources(flags.excluded, chain.from_iterable(parts.values()))
    unmet = set(flags.excluded)
    is_all = True
    for source, shards in parts.items():
        print(f"{source}: {len(shards):,} parts")
        _print_index(source, verify=args.verify)
        seen = _inspect(shards, flags, args)
        _print_pairs(seen, has_list=bool(flags.excluded))
        unmet -= seen.excluded
        is_all = is_all and seen.is_all
    if unmet and is_all:
        n = len(flags.excluded)
        print(
            f"{len(unmet):,} of the {n:,} excluded names match no pair of these sources, such as "
            f"{min(unmet)!r}"
        )
    return 0


def _print_index(source: str, *, verify: bool) -> None:
    if not (is_folder(source) and exists(join(source, SHARD_INDEX_FILE))):
        if verify:
            raise DataError(f"{source} has no {SHARD_INDEX_FILE} to verify it against")
        return
    index = read_shard_index(source)
    print(f"  {index.n_pairs:,} pairs in {index.n_bytes / 1e6:,.1f} MB; {index.n_skipped:,} were unusable")
    if verify:
        for shard in each(index.shards, desc="verify", unit="shard"):
            url = join(source, shard.file)
            found = retry(url, partial(_sha256, url))
            if found != shard.sha256:
                raise DataError(
                    f"{url} has changed since it was written: its sha256 is {found}, "
                    f"{SHARD_INDEX_FILE} says {shard.sha256}"
                )
        print("  every shard has the sha256 that the index says")


def _inspect(shards: Sequence[Shard], flags: SourceFlags, args: argparse.Namespace) -> _Findings:
    """Decode the requested number of pairs: shards in a fixed random order, several in turn."""
    found = round_robin(shards, Order(seed=0, n_streams=min(N_SIDE_BY_SIDE, len(shards)), block_size=1))
    entries = islice(found, args.pairs)
    look = partial(_info, flags=flags)
    seen = _Findings()
    with progress_bar(desc="decode", total=args.pairs, unit="pair") as bar:
        for entry, info in map_in_threads(entries, look, args.jobs):
            bar.update()
            if info is None:
                seen.excluded.add(entry.name)
            elif isinstance(info, ImageInfo) and isinstance(entry, Pair):
                seen.pairs.append((entry, info))
            else:
                seen.reasons[str(info)] += 1
    seen.is_all = next(found, None) is None
    return seen


def _print_pairs(found: _Findings, *, has_list: bool) -> None:
    seen = found.pairs
    n = len(seen) + found.reasons.total() + len(found.excluded)
    which = f"all {n:,} entries" if found.is_all else f"{n:,} entries spread over the source (see --pairs)"
    print(f"  read {which}: {len(seen):,} can be used")
    if has_list:
        print(f"  {len(found.excluded):>7,} excluded and not decoded")
    formats = Counter(info.format for _, info in seen)
    if seen:
        sides = [(info.width, info.height) for _, info in seen]
        print(f"  formats: {', '.join(f'{name} {count:,}' for name, count in formats.most_common())}")
        print(
            f"  median size {median(w for w, _ in sides):.0f} x {median(h for _, h in sides):.0f} px, "
            f"{median(len(pair.image) for pair, _ in seen) / 1000:.1f} kB; largest "
            f"{max(w * h for w, h in sides) / 1e6:.1f} million px"
        )
        lengths = [len(text) for pair, _ in seen for text in pair.texts.all()]
        print(f"  {len(lengths) / len(seen):.1f} texts a pair, median {median(lengths):.0f} characters")
        for pair, _ in seen[:N_EXAMPLES]:
            print(f"    {pair.name}: {pair.texts.first[:80]!r}")
    for reason, count in found.reasons.most_common(N_EXAMPLES):
        print(f"  {count:>7,} unusable: {reason}")


def _info(entry: Entry, flags: SourceFlags) -> ImageInfo | str | None:
    """Information on a pair's fully decoded image, or why it is unusable; None if it is excluded."""
    if entry.name in flags.excluded:
        return None
    if isinstance(entry, Unusable):
        return entry.reason
    try:
        return run_isolated(decoded_info, entry.image, plain_spec(), flags.limits)
    except InputError as error:
        return str(error)


def _sha256(url: str) -> str:
    digest = sha256()
    with open_url(url) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
