"""Imported dual encoders against transformers' own path: ids, features, graphs of any batch and length."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from diptych.bundle.image.preprocess import ImageLimits, preprocess
from diptych.bundle.text.tokenizer import TextTokenizer, pad
from diptych_training.export.onnx.bundle_files import write_image_graph, write_text_graph
from diptych_training.importing.common.imported_model import Choices, ImportedModel
from diptych_training.importing.hugging_face import load_hugging_face
from support.hugging_face_checkpoints import (
    make_align,
    make_altclip,
    make_chinese_clip,
    make_clip,
    make_metaclip_2,
    make_siglip,
    make_siglip2_fixed,
)

SAME = 1 - 1e-5  # cosine; float32 rounding over a few layers
LIMITS = ImageLimits(max_bytes=10**7, max_px=10**7)

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

ORDINARY = [
    "a photo of a cat",
    "Two Birds sit on a branch",
    "the old man's bicycle, isn't it?",
    "a cake with 20 candles",
    "x",
    "a very long caption " * 20,
    "山和湖的照片",
    "eine Straße im Regen",
    "кошка спит на стуле",
    "قطة تنام",
    "two  spaces and a\ttab",
    "line one\nline two",
    "rock & roll; 50% off (today) #1",
    "café déjà vu",
]
AWKWARD = [
    "",
    "   ",
    " leading",
    "trailing ",
    "👩‍👩‍👧 family 🇫🇷",
    "e\u0301 combining",
    "ＦＵＬＬ ｗｉｄｔｈ",
    "\u200bzero width",
    "ﬁne ligature",
    "ΟΔΟΣ",
    "tom &amp; jerry",
    "bell \x07 and null-free \x1c",
    "!!!",
]


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


def photographs() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(32, 32), (90, 61), (61, 90), (40, 200), (35, 35), (123, 70), (20, 17)]
    images = []
    for width, height in sizes:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        images.append(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return images


def prepared(imported: ImportedModel, images: list[Image.Image]) -> np.ndarray:
    return np.stack([preprocess(image, imported.image, LIMITS) for image in images])


def normalised(imported: ImportedModel, pixels: np.ndarray) -> torch.Tensor:
    mean, std = torch.tensor(imported.image.mean), torch.tensor(imported.image.std)
    return ((torch.from_numpy(pixels).float() / 255 - mean) / std).permute(0, 3, 1, 2)


def text_tokenizer(imported: ImportedModel, folder: Path) -> TextTokenizer:
    imported.tokenizer.save(str(folder / "tokenizer.json"))
    return TextTokenizer(folder / "tokenizer.json", imported.text)


def least_cosine(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / norms).min())


def test_image_features_follow_the_library_from_the_photograph_on(imported):
    images = photographs()
    with torch.no_grad():
        found = imported.model.encode_image(normalised(imported, prepared(imported, images)))
    expected = imported.library.encode_images(images)
    assert expected.shape == (len(images), imported.embed_dim)
    assert least_cosine(found.numpy(), expected) >= SAME
    assert least_cosine(np.roll(expected, 1, axis=0), expected) < 0.999  # else the test would see nothing


def test_text_features_follow_the_library_from_the_string_on(imported, tmp_path):
    tokens = text_tokenizer(imported, tmp_path)(ORDINARY)
    with torch.no_grad():
        found = imported.model.encode_text(torch.from_numpy(tokens.input_ids).long())
    expected = imported.library.encode_texts(ORDINARY)
    assert least_cosine(found.numpy(), expected) >= SAME
    assert least_cosine(np.roll(expected, 1, axis=0), expected) < 0.999


def test_ids_of_ordinary_texts_equal_the_librarys(imported, tmp_path):
    tokenizer = text_tokenizer(imported, tmp_path)
    for text in ORDINARY:
        assert tokenizer.ids(text)[0].tolist() == imported.library.input_ids(text), text


def test_ids_of_awkward_texts_equal_the_librarys(imported, tmp_path):
    tokenizer = text_tokenizer(imported, tmp_path)
    for text in AWKWARD:
        assert tokenizer.ids(text)[0].tolist() == imported.library.input_ids(text), text


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


def test_another_activation_shows_on_a_deep_model(tmp_path):
    imported = load_hugging_face(make_clip(tmp_path / "deep", layers=12), Choices())
    wrong = load_hugging_face(make_clip(tmp_path / "wrong", layers=12, activation="gelu"), Choices())
    pixels = normalised(imported, prepared(imported, photographs()))
    ids = torch.tensor([imported.library.input_ids("a photo of a cat")])
    with torch.no_grad():
        image = F.cosine_similarity(imported.model.encode_image(pixels), wrong.model.encode_image(pixels))
        text = F.cosine_similarity(imported.model.encode_text(ids), wrong.model.encode_text(ids))
    assert 1 - image.min() > 1e-4
    assert 1 - text.min() > 1e-4
