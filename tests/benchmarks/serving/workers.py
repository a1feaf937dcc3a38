"""Do a piece of work in a process of its own: its threads and its memory are its own, and gone afterwards.

A module that works for others ends in `answer(function)`: the arguments come as JSON on standard input, the
result goes as the last line of standard output.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.serving.places import REPOSITORY


def ask(module: str, **arguments: Any) -> Any:
    """The result of `benchmarks.serving.<module>`. Raises SystemExit with what it complained of."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.serving.{module}"],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        cwd=REPOSITORY / "tests",
        check=False,
    )
    if done.returncode:
        sys.exit(f"{module}: {done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def answer(function: Callable[..., Any]) -> None:
    """The other side of `ask`."""
    print(json.dumps(function(**json.load(sys.stdin))))
