"""`diptych backup`: copy the data folder of a server, running or not, or verify such a copy."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diptych.cli.arguments import add_data_dir_argument, chosen_data_dir
from diptych.cli.output.console import err, out, out_json
from diptych.cli.output.progress import ProgressBars
from diptych.core.backup import BackupRecord, LostImage, Outcome
from diptych.wiring.data_folders import back_up, verify_backup


def add_parser(subparsers: Any) -> None:
    """Declare `diptych backup TARGET [--data-dir DIR] [--verify] [--json]`."""
    parser = subparsers.add_parser(
        "backup",
        help="copy a data folder, also while a server uses it",
        description="Copy all collections into a folder: images, metadata and vectors as of one moment. A "
        "server may keep writing meanwhile. A second backup into the same folder copies only new image "
        "files, and resumes an interrupted backup. Exit code 1 when an image file is missing in the data "
        "folder, or when --verify finds damage.",
    )
    parser.add_argument("target", type=Path, metavar="TARGET", help="folder of the backup")
    add_data_dir_argument(parser)
    parser.add_argument(
        "--verify",
        action="store_true",
        help="make no backup, but read and verify every byte of the existing one",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Return 0 if everything was copied, 1 if image files were missing or rows damaged in the data folder."""
    with ProgressBars(hidden=args.json) as progress:
        if args.verify:
            done, state = verify_backup(args.target, progress), "sound"
        else:
            done, state = back_up(chosen_data_dir(args), args.target, progress), "complete"
    damaged = "damaged" if done.damaged_images else "incomplete"
    return show(done, f"{args.target}: {state if done.is_whole else damaged}", as_json=args.json)


def show(done: Outcome, state: str, *, as_json: bool) -> int:
    """Print the outcome to stdout and each incomplete image to stderr. Return the exit status."""
    if as_json:
        record = {} if done.record is None else asdict(done.record)
        out_json(record | {name: value for name, value in asdict(done).items() if name != "record"})
        return 0 if done.is_whole else 1
    out(state if done.record is None else f"{state}, {_counted(done.record, done.lost_images)}")
    if done.lost_images:
        n_lost = len(done.lost_images)
        err(f"images without their file: {n_lost:,} (add them again with `diptych add --send-all`)")
    for lost in done.lost_images:
        err(f"{lost.collection}/{lost.id}: {lost.sha256} is {lost.fault}")
    if done.damaged_images:
        err(f"images damaged in the database: {len(done.damaged_images):,} (delete and add them again)")
    for damaged in done.damaged_images:
        fault = "words are not those of its row" if damaged.what == "words" else f"{damaged.what} is damaged"
        err(f"{damaged.collection}/{damaged.id}: its {fault}")
    for collection in done.damaged_words:
        err(f"{collection}: the index of its words is damaged (the next start of a server makes it again)")
    return 0 if done.is_whole else 1


def _counted(record: BackupRecord, lost: Sequence[LostImage]) -> str:
    counts = record.counts
    n_lost = len({image.sha256 for image in lost})
    n_there = f"{counts.n_files - n_lost:,} of {counts.n_files:,} files"
    files = n_there if n_lost else f"{counts.n_files:,} files of {counts.file_bytes:,} bytes"
    if counts.n_referenced:
        files += f", {counts.n_referenced:,} images whose files stay in libraries and are not in the backup"
    return (
        f"{counts.n_images:,} images in {counts.n_collections:,} collections, "
        f"{files}, as of {record.created_at}"
    )
