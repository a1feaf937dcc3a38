"""A chunked, checkpointed or compiled step gives the results of a plain step."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._dynamo import config as limits
from torch._dynamo.testing import CompileCounter

from diptych_training.models import CLIP
from diptych_training.train.batches.batch import equal_keys
from diptych_training.train.memory_saving import MAX_GRAPHS, CheckpointedBlock, compile_blocks
from diptych_training.train.state import new_state
from diptych_training.train.step import GradientStep, copy_buffers, restore_buffers
from support.small_recipe import random_batch, small_recipe, two_steps
from support.tiny_run import TINY_RESNET, TINY_VIT


def gradients_of(model: CLIP) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(
    found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], noise: float = 1e-7
) -> None:
    """Compare tensors whose sums are taken in another order.

    `noise` is what rounding leaves of gradients that would be zero, such as those of the biases of keys.
    """
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        difference = (found[name].float() - tensor.float()).norm()
        assert difference <= 2e-5 * tensor.float().norm() + noise, f"{name}: {difference}"


@pytest.mark.parametrize("chunk_size", [3, 4])
def test_a_chunked_batch_has_the_loss_and_gradients_of_the_whole(chunk_size):
    whole = two_steps(small_recipe())
    chunked = two_steps(small_recipe(scale={"chunk_size": chunk_size}))
    assert chunked.losses == pytest.approx(whole.losses, rel=1e-5)
    assert_same(chunked.gradients, whole.gradients)


def test_chunks_work_with_a_locked_tower():
    locked = small_recipe(lock={"image": "all"})
    whole = two_steps(locked)
    chunked = two_steps(small_recipe(lock={"image": "all"}, scale={"chunk_size": 3}))
    assert_same(chunked.gradients, whole.gradients)
    assert not any(name.startswith("visual.") for name in chunked.gradients)


class FixedFeatures(nn.Module):
    """Towers that return fixed features for the batch."""

    def __init__(self, images, texts):
        super().__init__()
        self.features = images, texts

    def forward(self, pixels, input_ids):
        return self.features


def test_both_passes_over_a_chunk_draw_the_same_random_numbers():
    state = new_state(small_recipe())
    for block in state.model.transformer.resblocks:
        block.mlp.append(nn.Dropout(0.5))
    model, batch, chunks = state.model, random_batch(0), [slice(0, 4), slice(4, 8)]

    torch.manual_seed(5)
    parts = [model(batch.images[rows], batch.input_ids[rows]) for rows in chunks]  # one graph, nothing cached
    images, texts = (torch.cat(side) for side in zip(*parts, strict=True))
    GradientStep(model, FixedFeatures(images, texts)).forward_backward(batch)
    expected = gradients_of(model)
    drawn_after = torch.rand(1)

    model.zero_grad()
    torch.manual_seed(5)
    GradientStep(model, model, chunk_size=4).forward_backward(batch)
    assert_same(gradients_of(model), expected)
    assert torch.equal(torch.rand(1), drawn_after)


def test_chunks_are_counted_once_in_running_statistics():
    state = new_state(small_recipe(TINY_RESNET))
    GradientStep(state.model, state.model, chunk_size=4).forward_backward(random_batch(0))
    assert state.model.visual.bn1.num_batches_tracked.item() == 2


def test_a_non_finite_loss_changes_nothing_in_chunks():
    state = new_state(small_recipe(TINY_RESNET))
    before, buffers = copy.deepcopy(state.model.state_dict()), copy_buffers(state.model)
    batch = random_batch(0)
    batch.images[0, 0, 0, 0] = torch.inf
    losses = GradientStep(state.model, state.model, chunk_size=4).forward_backward(batch)
    norm = state.stepper.apply(0, losses["loss"])
    restore_buffers(state.model, buffers, unless=norm.isfinite())
    assert not losses["loss"].isfinite()
    assert not norm.isfinite()
    assert gradients_of(state.model) == {}
    assert all(torch.equal(tensor, before[name]) for name, tensor in state.model.state_dict().items())


def test_checkpointed_blocks_give_the_same_gradients():
    plain = two_steps(small_recipe())
    checkpointed = two_steps(small_recipe(scale={"checkpoint_blocks": True}))
    assert checkpointed.losses == pytest.approx(plain.losses, rel=1e-6)
    assert_same(checkpointed.gradients, plain.gradients)
    assert_same(checkpointed.after, plain.after)


def test_checkpointed_blocks_store_only_their_input():
    """Counts the elements of tensors that the graph saves: those inside blocks are gone."""

    def n_kept(checkpointed: bool) -> int:
        state = new_state(small_recipe(scale={"checkpoint_blocks": checkpointed}))
        kept: list[int] = []
        batch = random_batch(0)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            state.model(batch.images, batch.input_ids)
        return sum(kept)

    assert n_kept(checkpointed=True) < n_kept(checkpointed=False) / 2


def test_the_average_of_the_weights_is_not_checkpointed():
    state = new_state(small_recipe(run={"ema_decay": 0.9}, scale={"checkpoint_blocks": True}))
    assert any(isinstance(module, CheckpointedBlock) for module in state.model.modules())
    assert not any(isinstance(module, CheckpointedBlock) for module in state.ema.model.modules())


def test_items_that_share_a_key_in_one_column_are_positives():
    keys = torch.tensor([[1, 7], [2, 8], [1, 9], [3, 8], [7, 1]])
    assert equal_keys(keys).nonzero().tolist() == [
        [0, 0], [0, 2], [1, 1], [1, 3], [2, 0], [2, 2], [3, 1], [3, 3], [4, 4],
    ]  # fmt: skip


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("memory_saving", [{}, {"checkpoint_blocks": True, "chunk_size": 3}])
@pytest.mark.parametrize("image", [None, TINY_RESNET])
def test_compiled_blocks_give_the_same_loss_and_weights(image, memory_saving):
    recipe = small_recipe if image is None else lambda **tables: small_recipe(image, **tables)
    plain = two_steps(recipe(scale=memory_saving if image else {}))  # a ResNet counts by chunks
    compiled = two_steps(recipe(scale={"compile": True, **memory_saving}))
    assert compiled.losses == pytest.approx(plain.losses, rel=1e-4)
    assert compiled.after.keys() == plain.after.keys()
    assert_same(compiled.gradients, plain.gradients, noise=1e-6)  # a compiler fuses sums


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("image", [TINY_VIT, TINY_RESNET])
@pytest.mark.parametrize("checkpointed", [False, True])
@limits.patch(fail_on_recompile_limit_hit=True, recompile_limit=8)
def test_chunked_blocks_are_compiled_for_a_few_sizes_only(image, checkpointed):
    """Counts graphs. torch stops compiling at eight of them and runs further sizes uncompiled."""
    torch._dynamo.reset()
    state = new_state(small_recipe(image, scale={"checkpoint_blocks": checkpointed}))
    graphs = CompileCounter()
    compile_blocks(state.model, graphs)
    gradient_step = GradientStep(state.model, state.model, chunk_size=3)  # the last one has two items

    def step(length: int) -> None:
        batch = random_batch(length)
        ids = batch.input_ids.new_full((len(batch.input_ids), length), 5)
        ids[:, -1] = 599
        gradient_step.forward_backward(replace(batch, input_ids=ids))

    for length in (7, 9, 11):
        step(length)
    n_compiled = graphs.frame_count
    assert n_compiled > 8
    for length in (5, 8, 10, 12):
        step(length)
    assert graphs.frame_count <= n_compiled + 2
    assert graphs.frame_count < MAX_GRAPHS / 4
