"""Flags of the commands that train."""

import argparse
import os

from diptych_training.train.train_run import AUTO


def add_overrides_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--set KEY=VALUE`, which may be repeated, as `overrides`."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override a key of the recipe",
    )


def add_device_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--device DEVICE`."""
    parser.add_argument(
        "--device",
        default=os.environ.get("DIPTYCH_DEVICE") or AUTO,
        help="cpu, cuda, cuda:1 and so on; auto: cuda if available (DIPTYCH_DEVICE)",
    )
