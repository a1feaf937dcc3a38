"""A file or folder that an argument names: wrong usage when there is none. Opens nothing."""

import argparse
import os
from pathlib import Path

from diptych.cli.output.console import printable


def existing(text: str) -> Path:
    """For `type` of an argument."""
    if not os.path.exists(text):  # noqa: PTH110 - Path's raises where a folder on the way cannot be entered
        raise argparse.ArgumentTypeError(f"{printable(text)}: no such file or folder")
    return Path(text)
