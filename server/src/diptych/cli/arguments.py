"""The argument --data-dir of commands that work on a data folder without a server."""

import argparse
from pathlib import Path
from typing import Any

from diptych.settings import PREFIX, read_settings


def add_data_dir_argument(parser: Any) -> None:
    """--data-dir, as `diptych serve` has it."""
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help=f"folder of collections ({PREFIX}DATA_DIR)"
    )


def chosen_data_dir(args: argparse.Namespace) -> Path:
    """The folder that was named, else that of the settings. Raises ConfigError."""
    return read_settings({} if args.data_dir is None else {"data_dir": args.data_dir}).data_dir
