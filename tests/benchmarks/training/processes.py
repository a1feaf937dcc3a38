"""Run a command to its end, with what it says in a file. Knows no trainer."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

N_TOLD = 30  # lines of a log that an error shows


def run_timed(
    command: Sequence[str], log: Path, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> float:
    """Processor time over wall time, of all it started. Raises SystemExit with the end of its log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    before, started = os.times(), time.perf_counter()
    with log.open("w", encoding="utf-8") as out:
        said_to = {"stdout": out, "stderr": subprocess.STDOUT}
        code = subprocess.run(command, **said_to, check=False, env=environment, cwd=cwd).returncode
    wall, after = time.perf_counter() - started, os.times()
    if code:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        raise SystemExit("\n".join([*said[-N_TOLD:], f"{command[0]} ended with {code}"]))
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return spent / wall
