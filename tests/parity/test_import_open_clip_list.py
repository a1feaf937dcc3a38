"""Every kind of tower that open_clip lists, with random weights: exported, and equal to the library.

Depths are cut to a few layers and vocabularies to a thousand ids; all else is as listed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.export.onnx.bundle_files import write_image_graph, write_text_graph
from diptych_training.importing.open_clip.architecture import Architecture
from diptych_training.importing.open_clip.build import build_model, load_weights
from diptych_training.importing.open_clip.towers import (
    DualEncoder,
    HuggingFaceText,
    TransformerText,
    text_tower,
)
from support.open_clip_checkpoints import build
from support.open_clip_towers import (
    VOCAB_SIZE,
    image_kinds,
    shallow_config,
    shallow_timm,
    text_kinds,
    write_text_config,
)

SAME, DIFFERENT = 0.99999, 0.999  # cosines: the bound of float32; of items that are not the same
N_ITEMS, CONTEXT_LENGTH = 3, 77
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
NAMES = sorted({*image_kinds().values(), *text_kinds().values()})


def rows_of(graph: Path, batch: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    rows: np.ndarray = session.run(None, {session.get_inputs()[0].name: batch})[0]
    return rows


def cosine_min(found: np.ndarray, expected: torch.Tensor) -> float:
    assert np.isfinite(found).all()
    return float((found.astype(np.float64) * expected.numpy().astype(np.float64)).sum(axis=1).min())


def image_spec(size: Any) -> ImageSpec:
    edge = size if isinstance(size, int) else size[0]
    modes = {"interpolation": "bicubic", "resize_mode": "squash", "crop": "round", "alpha": "drop"}
    return ImageSpec(size=edge, mean=MEAN, std=STD, **modes)


def text_spec(tower: Any, context_length: int) -> TextSpec:
    is_free = isinstance(tower, HuggingFaceText) or (isinstance(tower, TransformerText) and tower.is_causal)
    pad_to = "longest" if is_free else "context_length"
    prompts = {"default": ["{}"]}
    return TextSpec(context_length=context_length, clean="none", pad_to=pad_to, pad_id=0, prompts=prompts)


def patchworks(edge: int) -> np.ndarray:
    """(N, S, S, 3) uint8: large patches of colour, which no pooling averages away."""
    coarse = np.random.default_rng(0).integers(0, 256, (N_ITEMS, 4, 4, 3), dtype=np.uint8)
    sharp = [Image.fromarray(image).resize((edge, edge), Image.Resampling.NEAREST) for image in coarse]
    return np.stack([np.asarray(image) for image in sharp])


def ids_of(tower: Any, context_length: int) -> np.ndarray:
    """Texts of several lengths that end in the highest id, or in the one that the tower looks for."""
    end = getattr(tower, "eos_id", None) or VOCAB_SIZE - 1
    ids = np.full((N_ITEMS, context_length), getattr(tower, "pad_id", 0), np.int32)
    rng = np.random.default_rng(0)
    for row, length in zip(ids, (4, context_length // 2, context_length), strict=True):
        row[:length] = rng.integers(5, VOCAB_SIZE - 1, length)
        row[length - 1] = end
    return ids


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_listed_kind_of_tower_is_exported_and_equals_the_library(name: str, tmp_path: Path) -> None:
    config = shallow_config(name)
    write_text_config(config, tmp_path)
    with shallow_timm():
        library = build(config, tmp_path)
        ours: Any = build_model(Architecture(name, config, {}, folder=tmp_path))
    load_weights(ours, dict(library.state_dict()), tmp_path)
    tower = text_tower(ours)
    towers = DualEncoder(ours.visual, tower).eval()
    context_length = config["text_cfg"].get("context_length", CONTEXT_LENGTH)
    spec = image_spec(ours.visual.image_size)

    write_image_graph(towers, spec, tmp_path / "image.onnx")
    write_text_graph(towers, text_spec(tower, context_length), tmp_path / "text.onnx")

    pixels = patchworks(spec.size)
    ids = ids_of(tower, context_length)
    normalised = (torch.from_numpy(pixels).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    images = library.encode_image(normalised.permute(0, 3, 1, 2), normalize=True)
    texts = library.encode_text(torch.from_numpy(ids).long(), normalize=True)
    found_images, found_texts = rows_of(tmp_path / "image.onnx", pixels), rows_of(tmp_path / "text.onnx", ids)
    lows = cosine_min(found_images, images), cosine_min(found_texts, texts)
    print(f"{name}: images {lows[0]:.7f}, texts {lows[1]:.7f}")
    for found, expected in ((found_images, images), (found_texts, texts)):
        assert cosine_min(np.roll(found, 1, axis=0), expected) < DIFFERENT  # else this would see nothing
    assert min(lows) >= SAME
