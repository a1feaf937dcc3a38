from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from diptych.bundle.golden import Golden, check_golden, read_golden, write_golden
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.manifest import FileEntry, complete
from diptych.bundle.text.tokenizer import TextTokenizer
from diptych.errors import CorruptBundle, GoldenMismatch
from support.bundle_examples import draft, noise, save_word_tokenizer, text_spec
from support.pictures import encoded

FILES = ["image_encoder.onnx", "text_encoder.onnx", "tokenizer.json", "golden.npz"]
MANIFEST = complete(
    draft(),
    "mine",
    1,
    datetime(2026, 1, 1, tzinfo=UTC),
    dict.fromkeys(FILES, FileEntry(sha256="0" * 64, bytes=1)),
)


class TinyEncoder:
    """An encoder of unit vectors from sums of the input. `noise` rotates them and `scale` lengthens them."""

    def __init__(self, noise=0.0, scale=1.0):
        self.noise, self.scale = noise, scale

    def _embed(self, rows):
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        features = np.stack([flat.sum(1), flat[:, 0], flat[:, -1], np.full(len(flat), 7.0)], axis=1)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        features[:, 3] += self.noise
        return (self.scale * features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)

    encode_image = encode_text = _embed


@pytest.fixture
def tokenizer(tmp_path):
    return TextTokenizer(save_word_tokenizer(tmp_path / "tokenizer.json"), text_spec())


@pytest.fixture
def golden(tokenizer):
    files = [
        encoded(noise(40, 30), "PNG"),
        encoded(noise(50, 90), "JPEG"),
        encoded(noise(9, 9, channels=4), "WEBP"),
    ]
    pixels = np.stack([load_pixels(file, MANIFEST.image, ImageLimits()) for file in files])
    texts = ["a red cat", "", "dog \0 é 猫"]
    input_ids = tokenizer(texts).input_ids
    encoder = TinyEncoder()
    return Golden(
        files, pixels, encoder.encode_image(pixels), texts, input_ids, encoder.encode_text(input_ids)
    )


def test_golden_survives_the_round_trip(golden, tmp_path):
    write_golden(tmp_path / "golden.npz", golden)
    back = read_golden(tmp_path / "golden.npz")
    assert (back.image_files, back.texts) == (golden.image_files, golden.texts)
    for name in ("pixels", "image_embedding", "input_ids", "text_embedding"):
        np.testing.assert_array_equal(getattr(back, name), getattr(golden, name), strict=True)


def test_golden_is_the_same_file_each_time(golden, tmp_path):
    for name in ("one.npz", "two.npz"):
        write_golden(tmp_path / name, golden)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_machine_that_reproduces_the_references_passes(golden, tokenizer):
    report = check_golden(golden, MANIFEST, "fp32", tokenizer, TinyEncoder())
    assert report.image_cosine_min == pytest.approx(1.0)
    assert report.text_cosine_min == pytest.approx(1.0)


def test_each_precision_has_its_own_bound(golden, tokenizer):
    slightly_off = TinyEncoder(noise=0.1)
    check_golden(golden, MANIFEST, "int8", tokenizer, slightly_off)
    for precision, bound in (("fp32", "0.99999"), ("fp16", "0.999")):
        with pytest.raises(GoldenMismatch, match=f"golden image [0-2]: cosine is 0.99.*bound is {bound}"):
            check_golden(golden, MANIFEST, precision, tokenizer, slightly_off)


def changed(rows, place):
    other = rows.copy()
    other[place] ^= 1
    return other


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            lambda golden: {"pixels": changed(golden.pixels, (1, 0, 0, 0))},
            "golden image 1: 1 of 3072 prepared samples differ, bound is 0",
        ),
        (
            lambda golden: {"pixels": golden.pixels[:, :16, :16]},
            r"prepared shape is \(32, 32, 3\), the reference \(16, 16, 3\)",
        ),
        (
            lambda golden: {"input_ids": changed(golden.input_ids, (0, 1))},
            "golden text 0: input_ids are",
        ),
        (lambda golden: {"input_ids": golden.input_ids[:, :-1]}, "input_ids have shape"),
        (
            lambda golden: {"image_embedding": golden.image_embedding[:, :3]},
            r"golden images: reference embeddings have shape \(3, 3\), embed_dim of the manifest is 4",
        ),
        (
            lambda golden: {"text_embedding": golden.text_embedding[:, :3]},
            r"golden texts: reference embeddings have shape \(3, 3\), embed_dim of the manifest is 4",
        ),
    ],
)
def test_other_references_are_a_mismatch(golden, tokenizer, changes, complaint):
    with pytest.raises(GoldenMismatch, match=complaint):
        check_golden(replace(golden, **changes(golden)), MANIFEST, "fp32", tokenizer, TinyEncoder())


@pytest.mark.parametrize("scale", [1.1, 0.0, float("nan")])
def test_embeddings_must_be_of_unit_norm(golden, tokenizer, scale):
    with pytest.raises(GoldenMismatch, match="golden images: norms differ from 1 by"):
        check_golden(golden, MANIFEST, "fp32", tokenizer, TinyEncoder(scale=scale))


def test_embeddings_of_another_width_are_a_mismatch(golden, tokenizer):
    class Narrow(TinyEncoder):
        def encode_text(self, rows):
            return self._embed(rows)[:, :3]

    with pytest.raises(
        GoldenMismatch, match=r"golden texts: embeddings have shape \(3, 3\), the reference \(3, 4\)"
    ):
        check_golden(golden, MANIFEST, "fp32", tokenizer, Narrow())


def test_what_is_no_golden_file_is_refused(golden, tmp_path):
    path = tmp_path / "golden.npz"
    write_golden(path, golden)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(CorruptBundle, match=r"golden.npz: not a golden file"):
            read_golden(path)
    np.savez(path, pixels=np.zeros(3))
    with pytest.raises(CorruptBundle, match="image_bytes"):
        read_golden(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(CorruptBundle, match="not a golden file"):
        read_golden(path)


def test_parts_that_do_not_belong_together_are_refused(golden, tmp_path):
    write_golden(tmp_path / "golden.npz", replace(golden, texts=golden.texts[:2]))
    with pytest.raises(CorruptBundle, match=r"has \(2, 3, 3\) text inputs"):
        read_golden(tmp_path / "golden.npz")
    write_golden(tmp_path / "golden.npz", replace(golden, pixels=golden.pixels[:0]))
    with pytest.raises(CorruptBundle, match=r"has \(3, 0, 3\) image inputs"):
        read_golden(tmp_path / "golden.npz")


def test_pickled_content_is_refused(golden, tmp_path):
    write_golden(tmp_path / "golden.npz", replace(golden, pixels=np.array([object()], dtype=object)))
    with pytest.raises(CorruptBundle, match="allow_pickle=False"):
        read_golden(tmp_path / "golden.npz")
