"""`diptych backup`: copy the data folder of a server that may be running, or check such a copy."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diptych.cli.bars import Bars
from diptych.cli.console import err, out, out_json
from diptych.cli.data_folders import back_up_folder, verify_backup
from diptych.core.backup import BackupRecord, DamagedImage, LostImage, Outcome
from diptych.settings import PREFIX, read_settings

MENDED_BY = "adding them again mends it"


def add_parser(subparsers: Any) -> None:
    """`diptych backup TARGET [--data-dir DIR] [--sizes-only | --verify] [--json]`."""
    parser = subparsers.add_parser(
        "backup",
        help="copy a data folder, while it is served, too",
        description="Copy all collections into a folder: images, metadata and vectors as they are at one "
        "moment. A server may go on writing meanwhile. Repeated into the same folder, what is there is "
        "read, and only what is new or damaged is copied; what was broken off is resumed. Exit code 1 when "
        "the data folder lacked an image file, or images are damaged in its database.",
    )
    parser.add_argument("target", type=Path, metavar="TARGET", help="folder of the backup")
    add_data_dir_argument(parser)
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--sizes-only",
        action="store_true",
        help="do not read what an earlier backup left, but take files of the right size for whole",
    )
    how.add_argument(
        "--verify", action="store_true", help="make none, but read every byte of the one that is there"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.set_defaults(run=run)


def add_data_dir_argument(parser: Any) -> None:
    """--data-dir, as `diptych serve` has it."""
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help=f"folder of collections ({PREFIX}DATA_DIR)"
    )


def chosen_data_dir(args: argparse.Namespace) -> Path:
    """The folder that was named, else that of the settings. Raises ConfigError."""
    return read_settings({} if args.data_dir is None else {"data_dir": args.data_dir}).data_dir


def run(args: argparse.Namespace) -> int:
    """0 when all is there, 1 when image files were lost, or rows damaged, before."""
    return _verify(args) if args.verify else _back_up(args)


def _verify(args: argparse.Namespace) -> int:
    with Bars(hidden=args.json) as bars:
        record = verify_backup(args.target, bars)
    if args.json:
        out_json(asdict(record))
        return 0 if record.is_whole else 1
    show_record(record, f"{args.target}: sound")
    if record.lost:
        first, n_files = next(iter(record.lost)), len(record.lost)
        err(f"image files that were lost or damaged in the data folder before: {n_files:,}, such as {first}")
    show_damaged(record.damaged)
    return 0 if record.is_whole else 1


def _back_up(args: argparse.Namespace) -> int:
    with Bars(hidden=args.json) as bars:
        done = back_up_folder(chosen_data_dir(args), args.target, bars, sizes_only=args.sizes_only)
    if args.json:
        out_json(as_json(done))
        return 0 if done.record.is_whole else 1
    show_record(done.record, f"{args.target}: complete")
    if done.mended:
        err(f"image files that were damaged in the backup and copied anew: {len(done.mended):,}")
    damaged = any(image.fault == "damaged" for image in done.lost_images)  # which only reading tells
    mended_by = f"{MENDED_BY}, with `diptych add --send-all`" if damaged else MENDED_BY
    show_lost(done.lost_images, "images whose file the data folder had lost before", mended_by)
    show_damaged(done.record.damaged)
    return 0 if done.record.is_whole else 1


def as_json(done: Outcome) -> dict[str, object]:
    """The record, with what became of the command."""
    lost_images = [asdict(image) for image in done.lost_images]
    return asdict(done.record) | {"lost_images": lost_images, "mended": list(done.mended)}


def show_lost(images: Sequence[LostImage], what: str, mended_by: str = MENDED_BY) -> None:
    """Each image that is without its file, after how many there are."""
    if images:
        err(f"{what}: {len(images):,} ({mended_by})")
    for image in images:
        err(f"{image.collection}/{image.id}: {image.sha256} is {image.fault}")


def show_damaged(images: Sequence[DamagedImage]) -> None:
    """Each image that is damaged in the database, after how many there are."""
    if images:
        err(f"images that are damaged in the database, as they were in the data folder: {len(images):,}")
    for image in images:
        err(f"{image.collection}/{image.id}: its {image.what} is damaged")


def show_record(record: BackupRecord, state: str) -> None:
    """One line on what a backup holds."""
    counts = record.counts
    out(
        f"{state}, {counts.n_images:,} images in {counts.n_collections:,} collections, "
        f"{counts.n_files:,} files of {counts.file_bytes:,} bytes, as of {record.created_at}"
    )
