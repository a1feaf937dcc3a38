"""Flags that many commands have: folders of runs and models."""

import argparse
from pathlib import Path

from diptych_training.paths import model_repo, runs_dir


def add_runs_dir_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--runs-dir DIR`."""
    parser.add_argument("--runs-dir", type=Path, default=runs_dir(), metavar="DIR", help="DIPTYCH_RUNS_DIR")


def add_model_repo_flag(parser: argparse.ArgumentParser, use: str = "") -> None:
    """Add `--model-repo DIR`; `use` says what the command uses it for, where that is not plain."""
    text = f"{use} (DIPTYCH_MODEL_REPO)" if use else "DIPTYCH_MODEL_REPO"
    parser.add_argument("--model-repo", type=Path, default=model_repo(), metavar="DIR", help=text)
