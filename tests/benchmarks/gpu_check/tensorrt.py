"""The server with TensorRT: how long its engines take, and what it is then. Knows no engine itself."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu_check.engines import TIER, wait_for_engines
from benchmarks.gpu_check.findings import Finding, absent
from benchmarks.gpu_check.serving import measure_running, program, serving_of
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.gpu_check.subject import Subject
from benchmarks.serving.servers import Running, running

KEEP_S = 45.0  # of the time that is left, for what is measured once the engines are there


def measure_tensorrt(
    device: str, sizes: Sizes, model_repo: Path, subject: Subject, until: float
) -> Iterator[Finding]:
    """Engines are built while CUDA serves; then vectors and pace; then a second start, which takes them."""
    if not model_repo.is_dir():
        yield absent(TIER, "the server", "its graphs could not be made, see above")
        return
    with tempfile.TemporaryDirectory(prefix="diptych-gpu-check-") as name:
        folder = Path(name)
        flags = ("--tensorrt", "auto", "--cache-dir", str(folder / "cache"))
        with running(program(device, model_repo, folder, flags)) as server:
            built = _engines(server, "engines built", until - KEEP_S)
            yield built
            if built.is_failure:
                return
            yield from measure_running(TIER, server, sizes, subject, folder)
        with running(program(device, model_repo, folder, flags)) as server:
            yield _engines(server, "engines of an earlier start", until)


def _engines(server: Running, name: str, until: float) -> Finding:
    return wait_for_engines(lambda: [one["tensorrt"] for one in serving_of(server)["running"]], name, until)
