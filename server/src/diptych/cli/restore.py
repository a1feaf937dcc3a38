"""`diptych restore`: make a data folder of a backup."""

import argparse
from pathlib import Path
from typing import Any

from diptych.cli.backup import add_data_dir_argument, chosen_data_dir, show
from diptych.cli.bars import Bars
from diptych.cli.data_folders import restore_backup


def add_parser(subparsers: Any) -> None:
    """`diptych restore BACKUP [--data-dir DIR] [--replace] [--json]`."""
    parser = subparsers.add_parser(
        "restore",
        help="make a data folder of a backup",
        description="Verify a backup, then make a data folder of it, which must be empty and not in use. "
        "What was broken off is resumed by repeating it.",
    )
    parser.add_argument("backup", type=Path, metavar="BACKUP", help="folder of the backup")
    add_data_dir_argument(parser)
    parser.add_argument(
        "--replace", action="store_true", help="put the backup in place of what the data folder holds"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when all is there, 1 when the backup itself had to do without some image files."""
    data_dir = chosen_data_dir(args)
    with Bars(hidden=args.json) as bars:
        record = restore_backup(args.backup, data_dir, bars, replace=args.replace)
    show(record, f"{data_dir}: restored", as_json=args.json)
    return 1 if record.lost else 0
