"""`diptych-train data pack`: make a packed data set of pairs, for validation, evaluation and export proofs.

Its images are stored decoded at one size, so that a run can read them repeatedly.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from diptych.bundle.encoder import Pixels
from diptych.bundle.manifest import ImageSpec
from diptych.bundle.repository import ModelRepository
from diptych_training.config import Tables, read_config, start_of
from diptych_training.data.colour_grid import GRID
from diptych_training.data.packed import (
    INDEX_FILE,
    Images,
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    hash_fraction,
    read_dataset,
    write_index,
    write_source,
)
from diptych_training.data.pairs.excluded import require_matching_sources
from diptych_training.data.pairs.image_files import map_in_threads, plain_spec
from diptych_training.data.pairs.packing import (
    KIND,
    UNKNOWN,
    packed_entry,
    packed_item,
    prepared_pixels,
    source_name,
    write_card,
)
from diptych_training.data.pairs.pair import Entry, Pair, Shard, Unusable
from diptych_training.data.pairs.stream.order import Cursor, Order, Stream
from diptych_training.data.pairs.tools.flags import (
    SOURCES_HELP,
    SourceFlags,
    add_source_flags,
    natural,
    positive,
    share,
    source_flags,
)
from diptych_training.errors import DataError
from diptych_training.evaluate.proof_set.file import default_proof_set_file
from diptych_training.evaluate.proof_set.samples import shortage
from diptych_training.files import exclusive_lock
from diptych_training.flags import add_model_repo_flag, add_runs_dir_flag
from diptych_training.importing.source_model import SourceModel, open_source_model
from diptych_training.paths import recipe_file
from diptych_training.progress import progress_bar

SHUFFLE_BUFFER = 2_000  # pairs held to be shuffled, besides the random order of shards
SPLITS: tuple[Split, ...] = ("train", "validation", "eval")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `pack` to the commands of `data`."""
    parser = subparsers.add_parser(
        "pack",
        help="make a packed data set of pairs for validation, evaluation and the proof of an export",
        description="Draws pairs from each source at random, decodes them at one size, and writes a packed "
        "data set, for `--data` of train, evaluate and export. Splits that are named are "
        "replaced; all others are kept.",
    )
    for split, help_text in zip(
        SPLITS,
        (
            "sources of training pairs, or a sample of them; int8 is calibrated on this split",
            "sources of the pairs that steer a run; none of them may be in the training data",
            "sources of the pairs for final tables, which neither training nor any choice may use",
        ),
        strict=True,
    ):
        parser.add_argument(f"--{split}", nargs="+", metavar="SOURCE", help=help_text)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--recipe", metavar="CONFIG", help="prepare images as this recipe does (default: as --size says)"
    )
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="model that replaces the one the recipe starts from, as --start of train does",
    )
    parser.add_argument(
        "--hold-out",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="share of the pairs of --train that goes to validation, by a hash of their names",
    )
    parser.add_argument(
        "--size", type=positive, default=224, metavar="PX", help=f"side of the images, a multiple of {GRID}"
    )
    parser.add_argument(
        "--limit", type=positive, default=5_000, metavar="N", help="maximum pairs of each split"
    )
    parser.add_argument("--seed", type=natural, default=0, help="seed of the random choice of pairs")
    parser.add_argument("--licence", default=UNKNOWN, help="licence of the images, for the data card")
    parser.add_argument("--author", default=UNKNOWN, help="author of the images, for the data card")
    parser.add_argument("--jobs", type=positive, default=os.cpu_count() or 1, help="threads that decode")
    add_runs_dir_flag(parser)
    add_model_repo_flag(parser, "folder of model bundles, for the model that a recipe starts from")
    parser.epilog = f"SOURCE: {SOURCES_HELP}"
    add_source_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Pack the named splits, write the card, print a summary, and warn if an export lacks samples."""
    wanted = _requested_splits(args)
    spec, has_proof_set = _image_spec(args)
    flags = source_flags(args)
    shards = {split: flags.reader.shards(sources) for split, sources in wanted.items()}
    require_matching_sources(flags.excluded, chain.from_iterable(shards.values()))
    args.out.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(args.out / ".lock", DataError(f"another build is writing to {args.out}")):
        before = _read_existing(args.out, spec.size)
        dataset = _without(before, [source_name(split) for split in shards])
        for split, parts in shards.items():
            images, items, n_unusable = _draw(args, split, wanted[split], parts, flags=flags, spec=spec)
            entry = packed_entry(
                split, images, items, drops={"unusable": n_unusable}, licence=args.licence, author=args.author
            )
            _warn_replaced(before.entries.get(source_name(split)), entry)
            write_index(dataset)  # without the old split: it is never listed with new ones
            write_source(args.out, split, source_name(split), images, items)
            dataset = replace(dataset, entries={**dataset.entries, source_name(split): entry})
            write_index(dataset)
        write_card(dataset, "diptych-train data pack")
    for name, entry in sorted(dataset.entries.items()):
        print(f"{name}: {entry.n:,} images" + "".join(f", {n:,} {why}" for why, n in entry.drops.items()))
    has_proof_set = has_proof_set or default_proof_set_file(ModelRepository(args.model_repo)) is not None
    lack = None if has_proof_set else shortage(dataset)
    if lack is not None:
        print(f"warning: {lack}", file=sys.stderr)
    return 0


def _requested_splits(args: argparse.Namespace) -> dict[Split, list[str]]:
    """The sources of each requested split."""
    wanted: dict[Split, list[str]] = {
        split: sources for split in SPLITS if (sources := getattr(args, split)) is not None
    }
    if not wanted:
        raise DataError("nothing to pack: name sources with --train, --validation or --eval")
    if args.hold_out:
        if "train" not in wanted or "validation" in wanted:
            raise DataError("--hold-out takes validation from --train: name --train, and no --validation")
        wanted = {"validation": wanted["train"], **wanted}  # first: it may draw nothing
    return wanted


def _without(dataset: PackedDataset, names: Sequence[str]) -> PackedDataset:
    kept = {name: entry for name, entry in dataset.entries.items() if name not in names}
    return replace(dataset, entries=kept)


def _warn_replaced(was: SourceEntry | None, entry: SourceEntry) -> None:
    if was is not None and was.recipe != entry.recipe:
        print(
            f"{source_name(entry.split)} is replaced: {entry.n:,} images, it had {was.n:,}; "
            "its images, texts, preparation, --hold-out, --limit or --seed have changed since it was packed",
            file=sys.stderr,
        )


def _belongs_to(split: Split, entry: Entry, hold_out: float) -> bool:
    """True if a pair of the split's sources belongs to the split."""
    is_held_out = hash_fraction(entry.name) < hold_out
    return split == "eval" or not hold_out or is_held_out == (split == "validation")


def _draw(
    args: argparse.Namespace,
    split: Split,
    sources: list[str],
    shards: Sequence[Shard],
    *,
    flags: SourceFlags,
    spec: ImageSpec,
) -> tuple[Images, list[PackedItem], int]:
    """Pixels and items of a split, and the number of unusable entries. DataError if there are no pairs."""
    stream = Stream(shards, 0, Order(args.seed, 1, SHUFFLE_BUFFER)).entries(Cursor(), 1, flags.excluded)
    other_split: Counter[bool] = Counter()  # entries of the other split, by whether they can be used
    entries = _entries_of_split(split, (entry for entry, _ in stream), args.hold_out, other_split)
    items: list[PackedItem] = []
    images: list[Pixels] = []
    reasons: Counter[str] = Counter()
    prepare = partial(prepared_pixels, spec=spec, limits=flags.limits)
    with progress_bar(desc=split, total=args.limit, unit="pair") as bar:
        for entry, pixels in map_in_threads(entries, prepare, args.jobs):
            if isinstance(entry, Unusable) or isinstance(pixels, str):
                reasons[str(pixels)] += 1
                continue
            items.append(packed_item(entry))
            images.append(pixels)
            bar.update()
            if len(items) == args.limit:
                break
    if not items:
        raise DataError(_empty_split_message(args, split, sources, reasons, other_split))
    return np.stack(images), items, reasons.total()


def _entries_of_split(
    split: Split, entries: Iterator[Entry], hold_out: float, other_split: Counter[bool]
) -> Iterator[Entry]:
    for entry in entries:
        if _belongs_to(split, entry, hold_out):
            yield entry
        else:
            other_split[isinstance(entry, Pair)] += 1


def _empty_split_message(
    args: argparse.Namespace,
    split: Split,
    sources: list[str],
    reasons: Counter[str],
    other_split: Counter[bool],
) -> str:
    n = reasons.total()
    if other_split[True]:
        change = "larger" if split == "validation" else "smaller"
        return (
            f"--hold-out {args.hold_out:g} of {n + other_split.total():,} pairs leaves none for "
            f"{split}: name a {change} share, add pairs, or leave --hold-out out"
        )
    most = "".join(f"; {count:,} unusable: {reason}" for reason, count in reasons.most_common(1))
    flag = "train" if args.hold_out and split == "validation" else split
    return f"--{flag} {' '.join(sources)}: none of {n + other_split.total():,} entries can be used{most}"


def _read_existing(out: Path, size: int) -> PackedDataset:
    """The data set that `out` already holds, or an empty one."""
    if not (out / INDEX_FILE).exists():
        return PackedDataset(out, out.resolve().name, size, {})
    dataset = read_dataset(out)
    others = sorted(name for name, entry in dataset.entries.items() if entry.kind != KIND)
    if others or dataset.image_size != size:
        raise DataError(
            f"{out} holds a data set {dataset.name!r} of {dataset.image_size} px"
            f"{f' with {others[0]}' if others else ''}, not of pairs at {size} px: choose another --out"
        )
    return dataset


def _image_spec(args: argparse.Namespace) -> tuple[ImageSpec, bool]:
    """How images are prepared, and whether the model that the recipe starts from brings a proof set."""
    source_models: list[SourceModel] = []

    def start_tables(recipe: Tables) -> Tables:
        """Recipe tables stated by the model that the recipe starts from."""
        source_models.append(open_source_model(start_of(recipe), args.runs_dir, args.model_repo))
        return source_models[0].tables

    if args.recipe is not None:
        recipe = read_config(recipe_file(args.recipe), start=args.start, start_tables=start_tables)
        spec = recipe.preprocess
    elif args.start is not None:
        raise DataError("--start replaces the model that a recipe starts from: name the recipe with --recipe")
    else:
        spec = plain_spec(args.size)
    if spec.size % GRID:
        raise DataError(f"images of {spec.size} px: the side must be a multiple of {GRID}")
    return spec, any(model.proof_set is not None for model in source_models)
