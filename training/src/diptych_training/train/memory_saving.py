"""Memory and speed of training: checkpointed or compiled blocks, and memory that malloc keeps.

None of these changes the results.
"""

import ctypes
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo import config as limits
from torch.utils.checkpoint import checkpoint

from diptych_training.errors import TrainingConfigError
from diptych_training.models.layers import ResidualAttentionBlock, Row
from diptych_training.models.resnet import BasicBlock, Bottleneck

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


COMPILED = (ResidualAttentionBlock, Bottleneck, BasicBlock)
# Beyond this many graphs, blocks of a kind run uncompiled, with a warning. torch's own limit is 8, for both
# towers and all stages of a ResNet together, since they share one function: a batch in chunks needs more.
MAX_GRAPHS = 128
Backend = Callable[[torch.fx.GraphModule, list[Tensor]], Callable[..., Any]]


class CheckpointedBlock(ResidualAttentionBlock):
    """A block that keeps only its input during the forward pass and recomputes the rest for the backward
    pass.
    """

    def forward(self, x: Tensor, mask: Tensor | None, row: Row | None = None) -> Tensor:
        """(B, L, W) -> (B, L, W) or (B, 1, W)."""
        if not torch.is_grad_enabled():
            return super().forward(x, mask, row)
        return checkpoint(super().forward, x, mask, row, use_reentrant=False)  # type: ignore[no-any-return]


def checkpoint_blocks(model: nn.Module) -> None:
    """Enable gradient checkpointing (Chen et al. 2016) in every transformer block.

    Stages of a ResNet are not checkpointed: their batch normalisation would count each batch twice.
    """
    for module in model.modules():
        if type(module) is ResidualAttentionBlock:
            module.__class__ = CheckpointedBlock  # keeps copies and state dicts unchanged


def compile_blocks(model: nn.Module, backend: str | Backend = "inductor") -> None:
    """Enable torch.compile for the blocks of both towers.

    Equal blocks share their graphs. Each kind of block has one graph for passes with gradients and one for
    passes without (chunks and validation). Each of these is first compiled for fixed sizes, and again for all
    sizes as soon as another number of items or text length occurs.
    """
    limits.recompile_limit = max(limits.recompile_limit, MAX_GRAPHS)
    for module in model.modules():
        if isinstance(module, COMPILED):
            module.compile(backend=backend)


def check_compiler(device: torch.device) -> None:
    """Compile a small function, which takes a few seconds. Raises TrainingConfigError if that fails on this
    machine.
    """
    try:
        # without the cache: a cached graph needs no compiler
        torch.compile(_plus_one, options={"fx_graph_cache": False})(torch.zeros(64, device=device))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise TrainingConfigError(
            f"scale.compile: torch.compile does not work here ({reason:.300}): it needs a C++ compiler on "
            "CPUs, such as g++, and triton with a C compiler on GPUs; train with scale.compile=false if "
            "there is none"
        ) from error


def _plus_one(x: Tensor) -> Tensor:
    return x + 1


def keep_freed_memory() -> None:
    """Make glibc keep freed memory, which saves the page faults of large blocks (a tenth of a step's time).

    Every training step allocates the same blocks again. Does nothing without glibc.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
