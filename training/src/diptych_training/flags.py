"""Flags that many commands have."""

import argparse
import os
from pathlib import Path

from diptych_training.paths import data_dir, model_repo, runs_dir

AUTO = "auto"  # the device: cuda if available


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


def add_runs_dir_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--runs-dir DIR`."""
    parser.add_argument("--runs-dir", type=Path, default=runs_dir(), metavar="DIR", help="DIPTYCH_RUNS_DIR")


def add_model_repo_flag(parser: argparse.ArgumentParser, use: str = "") -> None:
    """Add `--model-repo DIR`; `use` says what the command uses it for, where that is not plain."""
    text = f"{use} (DIPTYCH_MODEL_REPO)" if use else "DIPTYCH_MODEL_REPO"
    parser.add_argument("--model-repo", type=Path, default=model_repo(), metavar="DIR", help=text)


def add_data_flag(parser: argparse.ArgumentParser, use: str = "") -> None:
    """Add `--data DIR`; `use` says what the command uses it for, where that is not plain."""
    text = f"{use} (DIPTYCH_DATA)" if use else "DIPTYCH_DATA"
    parser.add_argument("--data", type=Path, default=data_dir(), metavar="DIR", help=text)
