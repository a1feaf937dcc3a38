"""Towers of our own kinds, exported, give the embeddings of torch, alone and in a batch."""

import numpy as np
import pytest
import torch

from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.export.int8.observe import open_file, run
from diptych_training.export.onnx.bundle_files import write_image_graph, write_text_graph
from support.families import random_model
from support.tiny_run import (
    TINY_LITE,
    TINY_PAIR,
    TINY_STEMMED_VIT,
    TINY_VIT,
    TINY_WORD_PIECES,
    tiny_clip,
    tiny_image_spec,
    tiny_text_spec,
)

pytestmark = pytest.mark.long
SIZE = 64
START, END = 2, TINY_WORD_PIECES.vocab_size - 1


@pytest.mark.parametrize("image", [TINY_LITE, TINY_PAIR, TINY_STEMMED_VIT])
def test_an_image_tower(image, tmp_path):
    model = random_model(tiny_clip(image, image_size=SIZE))
    spec = tiny_image_spec().model_copy(update={"size": SIZE})
    write_image_graph(model, spec, tmp_path / "image.onnx")
    session = open_file(tmp_path / "image.onnx")

    pixels = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    reference = TorchEncoder(model, spec).encode_image(pixels)
    rows = run(session, pixels)
    np.testing.assert_allclose(rows, reference, atol=1e-5)
    np.testing.assert_allclose(run(session, pixels[:1]), reference[:1], atol=1e-5)
    if image is TINY_STEMMED_VIT:  # the pools of the others average noise away
        assert (rows @ rows.T)[0, 1] < 0.999


@pytest.mark.parametrize("routed", [False, True])
def test_a_text_tower_of_word_pieces(tmp_path, routed):
    model = random_model(tiny_clip(TINY_VIT, TINY_WORD_PIECES.model_copy(update={"routed": routed})))
    write_text_graph(model, tiny_text_spec(), tmp_path / "text.onnx")
    session, reference = open_file(tmp_path / "text.onnx"), TorchEncoder(model, tiny_image_spec())

    texts = torch.tensor([[START, 17, 40, 9, END], [START, 9, 40, 17, END], [START, 5, END, 0, 0]])
    for part in (texts, texts[2:, :3], torch.tensor([[START, END]])):
        ids = part.numpy().astype(np.int32)
        np.testing.assert_allclose(run(session, ids), reference.encode_text(ids), atol=1e-5)
