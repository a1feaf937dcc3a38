"""A chunked, checkpointed or compiled step gives the results of a plain step."""

import copy

import pytest
import torch

from diptych_training.models import CLIP
from diptych_training.train.state import new_state
from diptych_training.train.step import GradientStep, copy_buffers, restore_buffers
from support.small_recipe import random_batch, small_recipe, two_steps
from support.tiny_run import TINY_RESNET


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
