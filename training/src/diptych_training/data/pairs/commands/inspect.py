"""`diptych-train data inspect`: say what is in sources of pairs, before a run finds out."""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from itertools import islice
from statistics import median

from tqdm import tqdm

from diptych.bundle.image import ImageInfo, ImageLimits, probe
from diptych.errors import InputError
from diptych_training.data.pairs.commands.flags import (
    SOURCES_HELP,
    SourceFlags,
    add_source_flags,
    positive,
    source_flags,
)
from diptych_training.data.pairs.image_files import side_by_side
from diptych_training.data.pairs.pair import Entry, Pair, Shard, Unusable
from diptych_training.data.pairs.patience import patiently
from diptych_training.data.pairs.shard_index import SHARD_INDEX_FILE, read_shard_index
from diptych_training.data.pairs.stream import Cursor, Order, Stream
from diptych_training.data.pairs.urls import exists, is_folder, join, open_url
from diptych_training.errors import DataError

CHUNK = 1 << 20
N_EXAMPLES = 5


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `inspect` to the commands of `data`."""
    parser = subparsers.add_parser(
        "inspect",
        help="say what is in sources of image-text pairs",
        description="Counts the parts of the sources, and looks at some pairs from all over them: formats, "
        "sizes, texts, and what cannot be used. A folder of `data shards` can be verified against its index.",
    )
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help=SOURCES_HELP)
    parser.add_argument("--pairs", type=positive, default=500, metavar="N", help="how many to look at")
    parser.add_argument("--verify", action="store_true", help="read all shards and compare their sha256")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="threads")
    add_source_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is there. DataError, naming the file, for a shard that is not what its index says."""
    flags = source_flags(args)
    for source in args.sources:
        shards = flags.reader.shards([source])
        print(f"{source}: {len(shards):,} parts")
        _print_index(source, verify=args.verify)
        _print_pairs(shards, flags, args.pairs, args.jobs)
    return 0


def _print_index(source: str, *, verify: bool) -> None:
    if not (is_folder(source) and exists(join(source, SHARD_INDEX_FILE))):
        if verify:
            raise DataError(f"{source} has no {SHARD_INDEX_FILE} to be verified against")
        return
    index = read_shard_index(source)
    print(f"  {index.n_pairs:,} pairs in {index.n_bytes / 1e6:,.1f} MB; {index.n_skipped:,} were unusable")
    if verify:
        for shard in tqdm(index.shards, desc="verify", unit="shard"):
            url = join(source, shard.file)
            found = patiently(url, partial(_sha256, url))
            if found != shard.sha256:
                raise DataError(
                    f"{url} is not what was written: its sha256 is {found}, "
                    f"{SHARD_INDEX_FILE} says {shard.sha256}"
                )
        print("  every shard has the sha256 that the index says")


def _print_pairs(shards: Sequence[Shard], flags: SourceFlags, n: int, n_threads: int) -> None:
    """Of `n` pairs: parts are taken in a random order, the same every time."""
    stream = Stream(shards, 0, Order(seed=0, n_streams=1, block_size=1)).entries(Cursor(), n_epochs=1)
    entries = (entry for entry, _ in islice(stream, n))
    formats: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    seen: list[tuple[Pair, ImageInfo]] = []
    for entry, info in side_by_side(entries, lambda entry: _info(entry, flags.limits), n_threads):
        if isinstance(info, ImageInfo) and isinstance(entry, Pair):
            seen.append((entry, info))
            formats[info.format] += 1
        else:
            reasons[str(info)] += 1
    print(f"  looked at {len(seen) + reasons.total():,}: {len(seen):,} can be used")
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
    for reason, count in reasons.most_common(N_EXAMPLES):
        print(f"  {count:>7,} unusable: {reason}")


def _info(entry: Entry, limits: ImageLimits) -> ImageInfo | str:
    if isinstance(entry, Unusable):
        return entry.reason
    try:
        return probe(entry.image, limits)
    except InputError as error:
        return str(error)


def _sha256(url: str) -> str:
    digest = sha256()
    with open_url(url) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
