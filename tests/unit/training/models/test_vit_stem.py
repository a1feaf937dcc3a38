"""A vision transformer with a convolutional stem; without one, nothing changes."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from diptych_training.config import LockConfig
from diptych_training.errors import TrainingConfigError
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.int8.observe import open_file, run
from diptych_training.export.onnx.bundle_files import write_image_graph
from diptych_training.importing.weight_names import Layout, from_layout, to_layout
from diptych_training.models import CLIP, ViTConfig, build_model
from diptych_training.models.count import meta_model, model_size
from diptych_training.models.depth import Depth, depths
from diptych_training.train.lock import lock
from diptych_training.train.optim import is_decayed
from diptych_training.train.state import new_state
from support.families import random_model
from support.small_recipe import gradient_step_of, random_batch, small_recipe, two_steps
from support.tiny_run import (
    EMBED_DIM,
    IMAGE_SIZE,
    TINY_STEMMED_VIT,
    TINY_VIT,
    tiny_clip,
    tiny_image_spec,
)

STEM = TINY_STEMMED_VIT.stem


def stemmed() -> CLIP:
    return random_model(tiny_clip(TINY_STEMMED_VIT))


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.named_buffers() if "visual.stem." in name}


def test_without_a_stem_names_and_weights_are_unchanged():
    torch.manual_seed(0)
    model = build_model(tiny_clip(TINY_VIT))
    first = torch.nn.Conv2d(3, TINY_VIT.width, TINY_VIT.patch_size, bias=False).weight.shape
    assert model.visual.conv1.weight.shape == first
    outside = {name for name in model.visual.state_dict() if not name.startswith("transformer.")}
    assert outside == {
        "class_embedding", "positional_embedding", "proj", "conv1.weight",
        "ln_pre.weight", "ln_pre.bias", "ln_post.weight", "ln_post.bias",
    }  # fmt: skip
    assert [name for name, _ in model.named_buffers()] == ["attn_mask"]
    said = {"patch_size": 8, "width": 32, "layers": 2, "heads": 2}  # as `model.json` has it so far
    assert ViTConfig.model_validate(said) == TINY_VIT


def test_each_convolution_halves_the_image_and_the_last_gives_the_width():
    model = stemmed()
    x = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    for level, (part, channels) in enumerate(zip(model.visual.stem, STEM, strict=True), start=1):
        x = part(x)
        assert x.shape == (2, channels, IMAGE_SIZE >> level, IMAGE_SIZE >> level)
        assert x.min() == 0  # behind its ReLU
    side = IMAGE_SIZE // TINY_STEMMED_VIT.stride
    assert model.visual.conv1(x).shape == (2, TINY_STEMMED_VIT.width, side, side)
    assert model.visual.conv1.kernel_size == model.visual.conv1.stride == (1, 1)
    assert model.visual.positional_embedding.shape == (side * side + 1, TINY_STEMMED_VIT.width)


@pytest.mark.parametrize("size", [8, 16, 32])
def test_smaller_images_have_fewer_patches(size):
    assert stemmed().encode_image(torch.randn(2, 3, size, size)).shape == (2, EMBED_DIM)


@pytest.mark.parametrize(
    ("stem", "message"),
    [
        ([8, 16], "stem halves the image 2 times, which makes patches of 4 pixels: patch_size is 8"),
        ([8, 16, 24, 32], "which makes patches of 16 pixels: patch_size is 8"),
        ([8, 16, 0], "greater than 0"),
    ],
)
def test_a_stem_that_does_not_match_the_patch_size_is_refused(stem, message):
    with pytest.raises(ValidationError, match=message):
        ViTConfig.model_validate({**TINY_VIT.model_dump(), "stem": stem})


def test_the_stem_is_the_first_layer_and_only_its_kernels_decay():
    model = stemmed()
    named = {name: p for name, p in model.named_parameters() if ".stem." in name}
    assert len(named) == 3 * len(STEM)
    placed = depths(model.state_dict())
    assert {placed[name] for name in statistics(model) | named} == {Depth("image", 0, 4)}
    assert placed["visual.proj"] == Depth("image", 3, 4)
    assert {name for name, p in named.items() if is_decayed(name, p)} == {
        f"visual.stem.{level}.conv.weight" for level in range(len(STEM))
    }


def test_the_size_of_a_model_counts_its_stem():
    with_stem, without = (model_size(meta_model(tiny_clip(image))) for image in (TINY_STEMMED_VIT, TINY_VIT))
    channels = (3, *STEM)
    convolutions = sum(9 * a * b + 2 * b for a, b in pairwise(channels))
    last, patches = STEM[-1] * TINY_VIT.width, 3 * 8 * 8 * TINY_VIT.width
    assert with_stem.n_image - without.n_image == convolutions + last - patches
    assert with_stem.n_text == without.n_text


@pytest.mark.parametrize("locked", [{"image": 1}, {"statistics": True}])
def test_a_locked_stem_keeps_its_statistics(locked):
    model = build_model(tiny_clip(TINY_STEMMED_VIT)).train()
    lock(model, LockConfig.model_validate(locked))
    before = statistics(model)
    model.encode_image(torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE))
    after = statistics(copy.deepcopy(model))
    assert before
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    learned = {p.requires_grad for name, p in model.named_parameters() if ".stem." in name}
    assert learned == {"statistics" in locked}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stem_learns_and_updates_its_statistics(precision):
    config = small_recipe(TINY_STEMMED_VIT, run={"precision": precision})
    model, after = new_state(config).model, two_steps(config).after
    changed = {
        name
        for name, tensor in model.state_dict().items()
        if ".stem." in name and not torch.equal(after[f"model.{name}"], tensor)
    }
    assert changed == {name for name in model.state_dict() if ".stem." in name}


def test_with_locked_statistics_chunks_and_checkpointed_blocks_have_the_same_gradients():
    scale = {"chunk_size": 3, "checkpoint_blocks": True}
    whole, cut = (
        two_steps(small_recipe(TINY_STEMMED_VIT, lock={"statistics": True}, scale=way)) for way in ({}, scale)
    )
    assert cut.losses == pytest.approx(whole.losses, rel=1e-5)
    for name, gradient in whole.gradients.items():
        torch.testing.assert_close(cut.gradients[name], gradient, rtol=1e-3, atol=1e-6)


def test_the_loss_falls_on_a_repeated_batch():
    config = small_recipe(TINY_STEMMED_VIT)
    state = new_state(config)
    passes, batch, losses = gradient_step_of(state, config), random_batch(0), []
    for step in range(8):
        losses.append(passes.forward_backward(batch)["loss"])
        state.stepper.apply(step, losses[-1])
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("layout", "library"), [("open_clip", "open_clip"), ("hugging_face", "transformers")]
)
def test_no_other_library_has_names_for_a_stem(layout: Layout, library: str):
    config = tiny_clip(TINY_STEMMED_VIT)
    state = stemmed().state_dict()
    with pytest.raises(TrainingConfigError, match=rf"model\.image has a stem: {library} has no CLIP"):
        to_layout(state, config, layout)
    with pytest.raises(TrainingConfigError, match=rf"model\.image has a stem: {library} has no CLIP"):
        from_layout(state, config, layout)
    ours = from_layout(to_layout(state, config, "original"), config)
    assert all(torch.equal(ours[name], tensor) for name, tensor in state.items())


@pytest.mark.long
def test_an_exported_stem_gives_the_embeddings_of_torch(tmp_path):
    model = stemmed()
    write_image_graph(model, tiny_image_spec(), tmp_path / "image.onnx")
    session = open_file(tmp_path / "image.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (5, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    rows = run(session, pixels)
    reference = TorchEncoder(model, tiny_image_spec()).encode_image(pixels)
    np.testing.assert_allclose(rows, reference, atol=1e-5)
    np.testing.assert_allclose(rows[:1], run(session, pixels[:1]), atol=1e-6)
    assert (rows @ rows.T)[0, 1] < 0.999  # images are told apart
