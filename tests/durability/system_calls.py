"""Trace the system calls of a process with strace."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Calls that make bytes and names last or remove them, and those that send to clients.
TRACED = (
    "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,send,sendto,sendmsg,write,writev,ftruncate"
)
LINE = re.compile(
    r"^(?P<thread>\d+) +(?P<began>\d+\.\d+) (?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+).*"
    r"<(?P<took>\d+\.\d+)>$"
)
UNFINISHED = re.compile(r"^(?P<thread>\d+) +(?P<began>\d+\.\d+) (?P<head>\w+\(.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(?P<thread>\d+) +\d+\.\d+ <\.\.\. \w+ resumed>(?P<tail>.*)$")


@dataclass(frozen=True)
class Call:
    """One finished system call. Descriptors in its arguments include their paths."""

    thread: int
    name: str
    arguments: str
    began_s: float
    ended_s: float


class Trace:
    """The calls of a process and all its threads since the trace began."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def calls(self) -> list[Call]:
        """Return the successful calls, in the order in which they ended."""
        found, halves = [], dict[str, tuple[str, str]]()
        for line in self._file.read_text(errors="replace").splitlines():
            if half := UNFINISHED.match(line):
                halves[half["thread"]] = half["began"], half["head"]
                continue
            rest = RESUMED.match(line)
            began, head = halves.pop(rest["thread"]) if rest else ("", "")
            joined = f"{rest['thread']} {began} {head}{rest['tail']}" if rest else line
            if (whole := LINE.match(joined)) and int(whole["result"]) >= 0:
                began_s = float(whole["began"])
                ended_s = began_s + float(whole["took"])
                found.append(Call(int(whole["thread"]), whole["name"], whole["arguments"], began_s, ended_s))
        return sorted(found, key=lambda call: call.ended_s)


@contextmanager
def traced(pid: int, file: Path) -> Iterator[Trace]:
    """Trace the process while the block runs."""
    strace = shutil.which("strace")
    assert strace, "strace is not installed: `make test` installs it"
    command = [strace, "-f", "-y", "-ttt", "-T", "-s", "64", "-e", f"trace={TRACED}", "-o", str(file)]
    process = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process:
        said = process.stderr.readline()  # it says so once it is attached to every thread
        assert "attached" in said, said
        try:
            yield Trace(file)
            time.sleep(0.1)  # the last answer has arrived before strace has written its line
        finally:
            process.terminate()
