"""The towers in torch: eager, compiled, and open_clip's own of the same weights. Knows no ONNX."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import nn

from benchmarks.gpu_check.findings import Finding, absent
from benchmarks.gpu_check.parity import parity
from benchmarks.gpu_check.rates import rates
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.gpu_check.subject import Subject, TorchRun
from benchmarks.gpu_check.theirs import FullLength, open_clip_model
from diptych_training.errors import TrainingConfigError
from diptych_training.train.economies import check_compiler

TIER = "torch"


def measure_eager(device: torch.device, sizes: Sizes, subject: Subject) -> Iterator[Finding]:
    """Our model in float32 and in float16."""
    for precision, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        model = copy.deepcopy(subject.model).to(device, dtype)
        yield from _measured(f"torch eager {precision}", model, dtype, device, sizes, subject)


def measure_compiled(device: torch.device, sizes: Sizes, subject: Subject) -> Iterator[Finding]:
    """The same in float16 through torch.compile, for the largest batch alone: each shape takes a while."""
    if reason := why_not_compiled(device, sizes):
        yield absent(TIER, "torch.compile fp16", reason)
        return
    model = copy.deepcopy(subject.model).to(device, torch.float16)
    compiled = _Compiled(model, sizes.compiler)
    run = TorchRun(compiled, subject.image_spec, device, torch.float16)
    largest = (max(sizes.batches),)
    run.encode_image(subject.pixels(largest[0]))  # what cannot be compiled fails here, and is said
    yield from rates(TIER, "torch.compile fp16", run, subject, sizes, largest)


def measure_open_clip(device: torch.device, sizes: Sizes, subject: Subject) -> Iterator[Finding]:
    """open_clip's modules with our weights, in float16 as it sets them up."""
    try:
        model = open_clip_model(subject.config, subject.model.state_dict(), torch.float16)
    except ModuleNotFoundError as error:
        yield absent(TIER, "open_clip fp16", f"package {error.name} is not installed")
        return
    towers = FullLength(model.to(device), subject.config.text.context_length)
    yield from _measured("open_clip fp16", towers, torch.float16, device, sizes, subject)


def why_not_compiled(device: torch.device, sizes: Sizes) -> str:
    """What torch.compile lacks here, such as a C compiler; empty where it works."""
    if sizes.compiler != "inductor":
        return ""
    try:
        check_compiler(device)
    except TrainingConfigError as error:
        return str(error)
    return ""


def _measured(
    name: str, model: nn.Module, dtype: torch.dtype, device: torch.device, sizes: Sizes, subject: Subject
) -> Iterator[Finding]:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    run = TorchRun(model.eval(), subject.image_spec, device, dtype)
    items = subject.sample.pixels, subject.sample.input_ids
    yield parity(TIER, name, run, items, subject.truth, "fp32" if dtype == torch.float32 else "fp16")
    yield from rates(TIER, name, run, subject, sizes)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**20
        yield Finding(TIER, "memory", name, {"peak_mib": peak}, note="allocated by torch, weights included")


class _Compiled(nn.Module):
    """Both towers, each one graph."""

    def __init__(self, model: nn.Module, backend: str) -> None:
        super().__init__()
        self._image: Callable[..., torch.Tensor] = torch.compile(model.encode_image, backend=backend)
        self._text: Callable[..., torch.Tensor] = torch.compile(model.encode_text, backend=backend)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) -> (B, D)."""
        return self._image(pixels)

    def encode_text(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(B, L) -> (B, D)."""
        return self._text(input_ids)
