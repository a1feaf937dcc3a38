"""What can be found of any image and process: sizes, who it runs as, what it may write."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from deployment.rootless.building import Image
from deployment.rootless.running import Contained, enter

MB = 1_000_000


@dataclass
class Findings:
    """Figures to state, and checks by the sentence that must hold."""

    figures: dict[str, float | str] = field(default_factory=dict)
    checks: dict[str, str] = field(default_factory=dict)

    def check(self, sentence: str, look: Callable[[], object]) -> None:
        """`look` raises AssertionError, or whatever went wrong, when the sentence does not hold."""
        try:
            look()
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        else:
            wrong = ""
        self.checks[sentence] = wrong
        print(f"no   {sentence}: {wrong}" if wrong else f"yes  {sentence}", flush=True)

    def tell(self) -> int:
        """Print the figures, and what did not hold: the exit status."""
        print(json.dumps(self.figures, indent=1))
        failed = [sentence for sentence, wrong in self.checks.items() if wrong]
        print(f"{len(self.checks) - len(failed)} of {len(self.checks)} hold", *failed, sep="\nno   ")
        return int(bool(failed))


def mb(root: Path, *parts: str) -> float:
    """MB of files, of one file system."""
    command = ["du", "--summarize", "--apparent-size", "--bytes", "--total", "--one-file-system", *parts]
    printed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return round(int(printed.splitlines()[-1].split()[0]) / MB, 1)


def packed_mb(root: Path, *parts: str) -> float:
    """MB of files, packed by gzip."""
    tar = subprocess.Popen(["tar", "--create", *parts], cwd=root, stdout=subprocess.PIPE)
    packed = subprocess.Popen(["gzip", "-6"], stdin=tar.stdout, stdout=subprocess.PIPE)
    assert packed.stdout is not None
    n_bytes = 0
    while piece := packed.stdout.read(1 << 20):
        n_bytes += len(piece)
    assert (tar.wait(), packed.wait()) == (0, 0)
    return round(n_bytes / MB, 1)


def check_confined(image: Image, process: Contained) -> None:
    """It is process 1, the image's user, and has no capability."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert status["NSpid"][-1] == "1", status["NSpid"]
    assert status["Uid"] == [str(image.user[0])] * 4, status["Uid"]
    assert status["Gid"] == [str(image.user[1])] * 4, status["Gid"]
    assert status["NoNewPrivs"] == ["1"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name][0], 16) == 0, f"{name} is {status[name][0]}"


def check_read_only(image: Image, process: Contained, *places: str) -> None:
    """Its root is mounted read-only, and nothing can be made at the places."""
    (options,) = [
        line.split()[5]
        for line in Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
        if line.split()[4] == "/"
    ]
    assert "ro" in options.split(","), options
    for place in places:
        refused = enter(image, process, {}, ["/bin/sh", "-c", f": > {place}/x"])
        assert refused.returncode != 0, f"{place}/x was written"
        assert "Read-only" in refused.stderr, refused.stderr


def check_status(done: "subprocess.CompletedProcess[str]", code: int) -> None:
    """The command ended with `code`."""
    assert done.returncode == code, f"{done.returncode}: {done.stdout} {done.stderr}"


def check_equal(found: object, expected: object) -> None:
    """They are."""
    assert found == expected, found
