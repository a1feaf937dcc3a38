"""What is measured in which order, and what each tier must have; a process of its own does one tier.

    python -m benchmarks.gpu_check.tiers TIER   (a Task as JSON on standard input)

A tier that lacks something says so and ends; a part of it that fails lets the others go on.
"""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.gpu_check.findings import Finding, absent, failed, say, tell
from benchmarks.gpu_check.sizes import DRY, FULL, QUICK, Sizes

if TYPE_CHECKING:
    import torch

    from benchmarks.gpu_check.subject import Subject

Scale = Literal["full", "quick", "dry"]
SIZES: dict[Scale, Sizes] = {"full": FULL, "quick": QUICK, "dry": DRY}


@dataclass(frozen=True)
class Task:
    """`folder` is where the tiers leave graphs to each other; `until` is a time of time.time()."""

    device: Literal["cuda", "cpu"]
    scale: Scale
    folder: str
    until: float


class Work:
    """A task with what its parts share. Packages are loaded when a part asks: each may be missing."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.sizes = SIZES[task.scale]
        self.model_repo = Path(task.folder) / "model_repo"

    @property
    def on_card(self) -> bool:
        return self.task.device == "cuda"

    @cached_property
    def subject(self) -> "Subject":
        from benchmarks.gpu_check.subject import Subject  # noqa: PLC0415

        return Subject(self.sizes)

    @cached_property
    def torch_device(self) -> "torch.device":
        import torch  # noqa: PLC0415

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        return torch.device(self.task.device)


Part = Callable[[Work], Iterator[Finding]]


@dataclass(frozen=True)
class Tier:
    """`lacks` says why nothing of it can be measured here; empty where it can."""

    lacks: Callable[[Work], str]
    parts: Mapping[str, Part]


def _graphs(work: Work) -> Iterator[Finding]:
    from benchmarks.gpu_check.graphs import write_bundle  # noqa: PLC0415

    yield from write_bundle(work.model_repo, work.sizes)


def _limits(work: Work) -> Iterator[Finding]:
    from benchmarks.gpu_check.limits import measure_limits  # noqa: PLC0415

    yield from measure_limits(work.torch_device, work.sizes)


def _towers(name: str) -> Part:
    def part(work: Work) -> Iterator[Finding]:
        from benchmarks.gpu_check import towers  # noqa: PLC0415

        yield from getattr(towers, name)(work.torch_device, work.sizes, work.subject)

    return part


def _training(name: str) -> Part:
    def part(work: Work) -> Iterator[Finding]:
        from benchmarks.gpu_check import training  # noqa: PLC0415

        yield from getattr(training, name)(work.torch_device, work.sizes, work.subject)

    return part


def _default_model(work: Work) -> Iterator[Finding]:
    from benchmarks.gpu_check.encoders import measure_default  # noqa: PLC0415

    yield from measure_default("onnxruntime", work.task.device, work.sizes)


def _encoders(work: Work) -> Iterator[Finding]:
    from benchmarks.gpu_check.encoders import measure_model  # noqa: PLC0415

    yield from measure_model("onnxruntime", work.task.device, work.sizes, work.model_repo, work.subject)


def _server(work: Work) -> Iterator[Finding]:
    from benchmarks.gpu_check.serving import measure_server  # noqa: PLC0415

    yield from measure_server("onnxruntime", work.task.device, work.sizes, work.model_repo, work.subject)


def _plans(work: Work) -> Iterator[Finding]:
    from benchmarks.gpu_check.plans import measure_plans  # noqa: PLC0415

    yield from measure_plans(work.sizes, work.model_repo, work.subject)


def _tensorrt(work: Work) -> Iterator[Finding]:
    from benchmarks.gpu_check.tensorrt import measure_tensorrt  # noqa: PLC0415

    yield from measure_tensorrt(work.task.device, work.sizes, work.model_repo, work.subject, work.task.until)


def _searches(work: Work) -> Iterator[Finding]:
    from benchmarks.gpu_check.searching import measure_searches  # noqa: PLC0415

    yield from measure_searches(work.sizes, on_card=work.on_card)


def _no_card(work: Work) -> str:
    """Why there is none, where one is asked for; before anything large is loaded."""
    if not work.on_card:
        return ""
    from diptych.adapters.cuda_driver import first_gpu  # noqa: PLC0415
    from diptych.errors import ConfigError  # noqa: PLC0415

    try:
        first_gpu()
    except ConfigError as error:
        return str(error)
    return ""


def _lacks_for_graphs(work: Work) -> str:
    """A minute of work, which without a card would be for nothing."""
    return _no_card(work) or _missing("torch", "onnx", "onnxscript", "onnxruntime")


def _lacks_for_torch(work: Work) -> str:
    if (reason := _no_card(work) or _missing("torch")) or not work.on_card:
        return reason
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} finds no card"
    return ""


def _lacks_for_onnxruntime(work: Work) -> str:
    """What it is held against is torch's, on the CPU; graphs are rewritten by onnx as they are opened."""
    if (reason := _no_card(work) or _missing("onnxruntime", "onnx", "torch")) or not work.on_card:
        return reason
    from diptych.adapters.onnx_cuda import require_cuda  # noqa: PLC0415
    from diptych.errors import ConfigError  # noqa: PLC0415

    try:
        require_cuda()
    except ConfigError as error:
        return str(error)
    return ""


def _lacks_for_plans(work: Work) -> str:
    if not work.on_card:
        return "it is for a card"
    if reason := _no_card(work) or _missing("torch", "onnx"):
        return reason
    from diptych.adapters.tensorrt_library import tensorrt_version  # noqa: PLC0415
    from diptych.errors import ConfigError  # noqa: PLC0415

    try:
        tensorrt_version()
    except ConfigError as error:
        return str(error)
    return ""


def _lacks_for_tensorrt(work: Work) -> str:
    if not work.on_card:
        return "it is for a card"
    if reason := _lacks_for_onnxruntime(work):
        return reason
    from diptych.adapters.onnx_tensorrt import require_tensorrt  # noqa: PLC0415
    from diptych.errors import ConfigError  # noqa: PLC0415

    try:
        require_tensorrt()
    except ConfigError as error:
        return str(error)
    return ""


def _lacks_for_faiss(work: Work) -> str:
    if (reason := _no_card(work) or _missing("faiss")) or not work.on_card:
        return reason
    from diptych.adapters.faiss_gpu import require_gpu  # noqa: PLC0415
    from diptych.errors import ConfigError  # noqa: PLC0415

    try:
        require_gpu()
    except ConfigError as error:
        return str(error)
    return ""


def _missing(*packages: str) -> str:
    lacking = [package for package in packages if find_spec(package) is None]
    return f"package {', '.join(lacking)} is not installed" if lacking else ""


# In this order: others need the graphs, and a time limit cuts off what is last.
TIERS: dict[str, Tier] = {
    "graphs": Tier(_lacks_for_graphs, {"graphs": _graphs}),
    "torch": Tier(
        _lacks_for_torch,
        {
            "limits": _limits,
            "eager": _towers("measure_eager"),
            "open_clip": _towers("measure_open_clip"),
            "training": _training("measure_training"),
        },
    ),
    "onnxruntime": Tier(
        _lacks_for_onnxruntime,
        {"default model": _default_model, "encoders": _encoders, "server": _server},
    ),
    "faiss": Tier(_lacks_for_faiss, {"searches": _searches}),
    "plans": Tier(_lacks_for_plans, {"plans": _plans}),
    "tensorrt": Tier(_lacks_for_tensorrt, {"server": _tensorrt}),
    # A comparison, and what takes longest: last, or it would cut off what is proven.
    "compile": Tier(
        _lacks_for_torch,
        {
            "towers": _towers("measure_compiled"),
            "training": _training("measure_compiled_training"),
        },
    ),
}


def findings(name: str, tier: Tier, work: Work) -> Iterator[Finding]:
    """All of one tier, as they are made."""
    try:
        reason = tier.lacks(work)
    except ModuleNotFoundError as error:
        reason = f"package {error.name} is not installed"
    if reason:
        yield absent(name, name, reason)
        return
    for part, measure in tier.parts.items():
        if time.time() > work.task.until:
            yield failed(name, part, "the time was up before it began")
            continue
        say(f"{name}: {part}")
        try:
            yield from measure(work)
        except ModuleNotFoundError as error:
            yield absent(name, part, f"package {error.name} is not installed")
        except (Exception, SystemExit) as error:  # what the many libraries raise
            traceback.print_exc()
            yield failed(name, part, error)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("the time was up"))
    name, task = sys.argv[1], Task(**json.load(sys.stdin))
    for finding in findings(name, TIERS[name], Work(task)):
        tell(finding)
    sys.stdout.flush()
    os._exit(0)  # all is told: libraries that fall over each other when they are unloaded change nothing


if __name__ == "__main__":
    main()
