"""Become the server of a model that was just published; knows nothing of how it was made."""

import os
import sys
from pathlib import Path


def serve_command(model_repo: Path, name: str, *, ungated: bool) -> list[str]:
    """`diptych serve` of one model, with a data folder of its own: a collection belongs to one model."""
    command = [sys.executable, "-m", "diptych", "serve", "--model-repo", str(model_repo), "--model", name]
    if "DIPTYCH_DATA_DIR" not in os.environ:
        command += ["--data-dir", str(_state_dir() / f"diptych-{name}")]
    return [*command, "--allow-ungated"] if ungated else command


def become_server(command: list[str]) -> None:
    """Replace this process, so that its memory is given back and signals reach the server. Never returns."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 our own interpreter


def _state_dir() -> Path:
    chosen = os.environ.get("XDG_STATE_HOME")
    return Path(chosen) if chosen else Path.home() / ".local" / "state"
