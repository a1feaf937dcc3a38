"""Imported dual encoders against transformers' own path: ids, features, graphs of any batch and length."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from diptych.bundle.text.tokenizer import pad
from diptych_training.export.onnx.bundle_files import write_image_graph, write_text_graph
from diptych_training.importing.common.imported_model import Choices, ImportedModel
from diptych_training.importing.hugging_face import load_hugging_face
from parity.imported import (
    AWKWARD,
    ORDINARY,
    SAME,
    assert_images_follow,
    assert_texts_follow,
    differing_ids,
    least_cosine,
    normalised,
    photographs,
    prepared,
    text_tokenizer,
)
from support.hugging_face_checkpoints import (
    make_align,
    make_altclip,
    make_chinese_clip,
    make_clip,
    make_metaclip_2,
    make_siglip,
    make_siglip2_fixed,
)

KINDS: dict[str, tuple[Callable[[Path], Path], Choices]] = {
    "clip": (make_clip, Choices()),
    "clip-old-eos-gelu": (lambda folder: make_clip(folder, old_eos=True, activation="gelu"), Choices()),
    "clip-nested": (lambda folder: make_clip(folder, nested=True), Choices()),
    "metaclip-2": (make_metaclip_2, Choices()),
    "siglip": (make_siglip, Choices()),
    "siglip-with-mask": (lambda folder: make_siglip(folder, attention_mask=True), Choices()),
    "siglip2-fixed": (make_siglip2_fixed, Choices()),
    "siglip2-lower-case": (lambda folder: make_siglip2_fixed(folder, lowercase=True), Choices()),
    "chinese-clip": (make_chinese_clip, Choices()),
    "altclip": (make_altclip, Choices()),
    "align": (make_align, Choices()),
}


# One of each architecture and each way of masking. Exports take seconds: one with convolutions, one without
# and three readings of texts run always, the others with the long tests.
OFTEN: dict[str, set[str]] = {"image": set(), "text": set()}
IMAGE_GRAPHS, TEXT_GRAPHS = (
    [pytest.param(kind, marks=() if kind in OFTEN[tower] else pytest.mark.long) for kind in kinds]
    for tower, kinds in {
        "image": ("clip", "siglip", "align"),
        "text": (
            *("clip", "clip-old-eos-gelu", "metaclip-2", "siglip", "siglip-with-mask"),
            *("chinese-clip", "altclip", "align"),
        ),
    }.items()
)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Callable[[str], ImportedModel]:
    """Imports each kind once."""

    @cache
    def imported(kind: str) -> ImportedModel:
        make, choices = KINDS[kind]
        return load_hugging_face(make(tmp_path_factory.mktemp(kind) / "checkpoint"), choices)

    return imported


@pytest.fixture(params=KINDS)
def imported(request, zoo) -> ImportedModel:
    return zoo(request.param)


def test_features_follow_the_library_from_photograph_and_string_on(imported, tmp_path):
    assert_images_follow(imported)
    assert_texts_follow(imported, tmp_path)


def test_ids_of_all_texts_equal_the_librarys(imported, tmp_path):
    assert differing_ids(imported, [*ORDINARY, *AWKWARD], tmp_path) == []


def test_end_of_text_spelled_out_in_a_text_is_text(imported, tmp_path):
    frame = imported.tokenizer.encode("").ids
    text = f"cat {imported.tokenizer.id_to_token(frame[-1])} dog"
    ids = text_tokenizer(imported, tmp_path).ids(text)[0].tolist()
    assert ids.count(frame[-1]) == 1
    assert imported.library.input_ids(text).count(frame[-1]) == 2


@pytest.mark.parametrize("kind", IMAGE_GRAPHS)
def test_image_graph_takes_any_batch(kind, zoo, tmp_path):
    imported = zoo(kind)
    write_image_graph(imported.model, imported.image, tmp_path / "image.onnx")
    session = ort.InferenceSession(str(tmp_path / "image.onnx"), providers=["CPUExecutionProvider"])
    pixels = prepared(imported, photographs())
    with torch.no_grad():
        expected = imported.model.encode_image(normalised(imported, pixels)).numpy()
    for rows in ([0], [1, 2, 3], list(range(len(pixels)))):
        (found,) = session.run(None, {"pixels": pixels[rows]})
        assert least_cosine(found, expected[rows]) >= SAME


@pytest.mark.parametrize("kind", TEXT_GRAPHS)
def test_text_graph_takes_any_batch_and_length(kind, zoo, tmp_path):
    imported = zoo(kind)
    write_text_graph(imported.model, imported.text, tmp_path / "text.onnx")
    session = ort.InferenceSession(str(tmp_path / "text.onnx"), providers=["CPUExecutionProvider"])
    tokenizer = text_tokenizer(imported, tmp_path)
    rows = [tokenizer.ids(text)[0] for text in ORDINARY]
    expected = imported.library.encode_texts(ORDINARY)
    for company in ([0], [4], [0, 4], [2, 7, 8], [5, 4], list(range(len(rows)))):
        (found,) = session.run(None, {"input_ids": pad([rows[index] for index in company], imported.text)})
        assert least_cosine(found, expected[company]) >= SAME


def test_logits_follow_the_librarys(imported):
    images, texts = photographs()[:3], ["a photo of a cat", "ships in the fog"]
    library = imported.library
    scores = imported.logit_scale * library.encode_images(images) @ library.encode_texts(texts).T
    inputs = {**library._prepare(images), **library._tokenize(texts)}
    with torch.no_grad():
        expected = library._model(**inputs).logits_per_image
    assert np.allclose(scores + imported.logit_bias, expected.numpy(), atol=1e-3)
