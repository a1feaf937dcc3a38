"""`diptych restore`: restore a data folder from a backup."""

import argparse
from typing import Any

from diptych.cli.arguments import add_data_dir_argument, chosen_data_dir, existing_path
from diptych.cli.commands.backup import show
from diptych.cli.output.progress import ProgressBars
from diptych.wiring.data_folders import restore_backup


def add_parser(subparsers: Any) -> None:
    """Declare `diptych restore BACKUP [--data-dir DIR] [--replace] [--without-damaged] [--json]`."""
    parser = subparsers.add_parser(
        "restore",
        help="restore a data folder from a backup",
        description="Restore a data folder from a backup, and verify the backup on the way. The data folder "
        "must be empty and not in use. Repeat an interrupted restore to resume it. Exit code 1 when image "
        "files are missing.",
    )
    parser.add_argument("backup", type=existing_path, metavar="BACKUP", help="folder of the backup")
    add_data_dir_argument(parser)
    parser.add_argument("--replace", action="store_true", help="replace the contents of the data folder")
    parser.add_argument(
        "--without-damaged",
        action="store_true",
        help="if image files of the backup are missing or damaged, restore everything else and name them",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Return 0 if everything was restored, 1 if image files are missing."""
    data_dir = chosen_data_dir(args)
    with ProgressBars(hidden=args.json) as progress:
        done = restore_backup(
            args.backup, data_dir, progress, replace=args.replace, without_damaged=args.without_damaged
        )
    state = "restored" if done.is_whole else "restored, incomplete"
    return show(done, f"{data_dir}: {state}", as_json=args.json)
