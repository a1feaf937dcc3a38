"""`diptych restore`: make a data folder of a backup."""

import argparse
from typing import Any

from diptych.cli.arguments import add_data_dir_argument, chosen_data_dir
from diptych.cli.commands.backup import show
from diptych.cli.output.progress import ProgressBars
from diptych.cli.path_argument import existing
from diptych.wiring.data_folders import restore_backup


def add_parser(subparsers: Any) -> None:
    """`diptych restore BACKUP [--data-dir DIR] [--replace] [--without-damaged] [--json]`."""
    parser = subparsers.add_parser(
        "restore",
        help="make a data folder of a backup",
        description="Make a data folder of a backup and verify it meanwhile. The folder must be empty and "
        "not in use. What was broken off is resumed by repeating it. Exit code 1 when images are without "
        "their file.",
    )
    parser.add_argument("backup", type=existing, metavar="BACKUP", help="folder of the backup")
    add_data_dir_argument(parser)
    parser.add_argument(
        "--replace", action="store_true", help="put the backup in place of what the data folder holds"
    )
    parser.add_argument(
        "--without-damaged",
        action="store_true",
        help="where image files of the backup are missing or damaged, restore all else and name those images",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when all is there, 1 when image files are not."""
    data_dir = chosen_data_dir(args)
    with ProgressBars(hidden=args.json) as bars:
        done = restore_backup(
            args.backup, data_dir, bars, replace=args.replace, without_damaged=args.without_damaged
        )
    state = "restored" if done.is_whole else "restored, incomplete"
    return show(done, f"{data_dir}: {state}", as_json=args.json)
