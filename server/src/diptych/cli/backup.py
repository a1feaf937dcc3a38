"""`diptych backup`: copy the data folder of a server that may be running, or check such a copy."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from diptych.cli.bars import Bars
from diptych.cli.console import err, out, out_json
from diptych.cli.data_folders import back_up_folder, verify_backup
from diptych.core.backup import BackupRecord
from diptych.settings import PREFIX, read_settings


def add_parser(subparsers: Any) -> None:
    """`diptych backup TARGET [--data-dir DIR] [--verify] [--json]`."""
    parser = subparsers.add_parser(
        "backup",
        help="copy a data folder, while it is served, too",
        description="Copy all collections into a folder: images, metadata and vectors as they are at one "
        "moment. A server may go on writing meanwhile. Repeated into the same folder, only what is new is "
        "copied; what was broken off is resumed. Exit code 1 when the data folder lacked an image file.",
    )
    parser.add_argument("target", type=Path, metavar="TARGET", help="folder of the backup")
    add_data_dir_argument(parser)
    parser.add_argument(
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
    """0 when all is there, 1 when image files were lost before."""
    with Bars(hidden=args.json) as bars:
        if args.verify:
            record = verify_backup(args.target, bars)
        else:
            record = back_up_folder(chosen_data_dir(args), args.target, bars)
    show(record, f"{args.target}: {'sound' if args.verify else 'complete'}", as_json=args.json)
    return 1 if record.lost else 0


def show(record: BackupRecord, state: str, *, as_json: bool) -> None:
    """One line on what a backup holds, and one on what it had to leave out."""
    if as_json:
        out_json(asdict(record))
        return
    counts = record.counts
    out(
        f"{state}, {counts.n_images:,} images in {counts.n_collections:,} collections, "
        f"{counts.n_files:,} files of {counts.file_bytes:,} bytes, as of {record.created_at}"
    )
    if record.lost:
        named = ", ".join(f"{sha256} {fault}" for sha256, fault in list(record.lost.items())[:3])
        err(f"{len(record.lost)} image files were lost or damaged in the data folder before: {named}")
