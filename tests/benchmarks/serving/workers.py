"""Do a piece of work in a process of its own: its threads and its memory are its own, and gone afterwards.

A module that works for others ends in `answer(function)`: the arguments of each call come as a line of JSON
on standard input, the results go as lines to standard output; what else it prints goes to standard error.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.serving.places import REPOSITORY

Ask = Callable[..., Any]  # raises SystemExit with what the module complained of


def ask(module: str, **arguments: Any) -> Any:
    """The result of `benchmarks.serving.<module>`. Raises SystemExit with what it complained of."""
    with resident(module) as again:
        return again(**arguments)


@contextmanager
def resident(module: str) -> Iterator[Ask]:
    """One process for many calls, which keeps what it has loaded in between."""
    command = [sys.executable, "-m", f"benchmarks.serving.{module}"]
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            cwd=REPOSITORY / "tests",
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def again(**arguments: Any) -> Any:
            stdin.write(json.dumps(arguments) + "\n")
            stdin.flush()
            line = stdout.readline()
            if not line:
                process.wait()
                complaints.seek(0)
                sys.exit(f"{module}: {complaints.read()[-4000:]}")
            return json.loads(line)

        try:
            yield again
        except BaseException:
            process.kill()
            raise


def answer(function: Callable[..., Any]) -> None:
    """The other side of `ask` and of `resident`."""
    results, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(function(**json.loads(line))), file=results, flush=True)
