"""Fused attention stores no square matrices and agrees with the explicit form."""

import pytest
import torch
from torch import Tensor

from diptych_training.models.layers import SelfAttention, explicit_attention, fused_attention, positions_for

BATCH, HEADS, LENGTH, WIDTH = 3, 2, 11, 16
CAUSAL = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)


class OnGpu(Tensor):
    """Says that it lies on a GPU."""

    is_cuda = True


def heads(n_rows: int = LENGTH, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(BATCH, HEADS, n_rows, WIDTH // HEADS, generator=generator, dtype=torch.float64)
    return drawn.to(dtype).requires_grad_()


@pytest.mark.parametrize("mask", [None, CAUSAL, torch.linspace(-2, 2, LENGTH**2).view(LENGTH, LENGTH)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_explicit_and_fused_attention_agree_in_values_and_gradients(
    mask: Tensor | None, dtype: torch.dtype
) -> None:
    found = []
    for attend in (explicit_attention, fused_attention):
        inputs = [heads(seed=seed, dtype=dtype) for seed in range(3)]
        y = attend(*inputs, mask)
        y.square().sum().backward()
        found.append([y.detach(), *(tensor.grad for tensor in inputs)])
    bound = 1e-10 if dtype is torch.float64 else 0.1
    for explicit, fused in zip(*found, strict=True):
        torch.testing.assert_close(fused, explicit, rtol=bound, atol=bound)


@pytest.mark.parametrize("row", [None, 3, torch.tensor([2, 10, 5])])
def test_attention_on_a_gpu_stores_no_square_matrix(row: Tensor | int | None) -> None:
    torch.manual_seed(0)
    layer, x = SelfAttention(WIDTH, HEADS), torch.randn(BATCH, LENGTH, WIDTH)
    kept: list[torch.Size] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        fused = layer(x.as_subclass(OnGpu), CAUSAL, row)
    assert kept
    assert (BATCH, HEADS, LENGTH, LENGTH) not in kept
    torch.testing.assert_close(fused.as_subclass(Tensor), layer(x, CAUSAL, row))


def test_a_smaller_grid_keeps_the_first_position_and_the_layout():
    ramp = torch.arange(4.0).repeat(4, 1)  # grows from left to right
    embedding = torch.cat([torch.tensor([9.0]), ramp.flatten()])[:, None]
    first, *cells = positions_for(embedding, 4).squeeze(1).tolist()
    assert first == 9
    left, right = cells[0], cells[1]
    assert cells == [left, right, left, right]
    assert 0 < left < 1.5 < right < 3
