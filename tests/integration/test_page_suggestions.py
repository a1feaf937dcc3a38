"""What the page at / suggests to look for is found first by the default model, in every precision it has."""

import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from diptych.adapters.onnxruntime.session import open_session
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.wiring.loading.bundles import VerifiedBundle, verify_bundle
from support.default_model import default_bundle

ROOT = Path(__file__).parents[2]
GALLERY = ROOT / "server" / "gallery"
PAGE = ROOT / "server" / "src" / "diptych" / "http" / "page" / "index.html"
BATCH = 16

# What a person who sees the picture takes for right.
RIGHT = {
    "a car": {"automobile", "sport utility vehicle", "taxi", "police car"},
    "weather": {"cloud with snow", "cloud with rain", "sun behind large cloud", "rainbow", "cloud"},
    "love": {"red heart", "sparkling heart", "beating heart", "growing heart", "heart suit"},
    "forbidden": {"prohibited", "no entry"},
}


@cache
def bundle() -> VerifiedBundle:
    return verify_bundle(default_bundle())


def vectors(tower: str, precision: str, inputs: np.ndarray) -> np.ndarray:
    """Embeddings as the server computes them: (N, D)."""
    graph = f"{tower}_encoder.onnx" if precision == "fp32" else f"{tower}_encoder.{precision}.onnx"
    session = open_session(bundle().folder / graph, n_threads=1, device="cpu")
    name = session.get_inputs()[0].name
    batches = [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]
    return np.concatenate([session.run(None, {name: batch})[0] for batch in batches])


def suggestions() -> list[str]:
    examples = re.search(r'<p id="examples".*?</p>', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert examples is not None
    return re.findall(r"<button[^>]*>(.*?)</button>", examples.group())


def test_each_suggestion_has_its_right_pictures_here() -> None:
    assert suggestions() == list(RIGHT)
    assert set(bundle().manifest.precisions) == {"fp32", "int8"}


@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.long), "int8"])
def test_first_hit_of_each_suggestion_is_right(precision: str) -> None:
    items = [json.loads(line) for line in (GALLERY / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    spec = bundle().manifest.image
    pixels = [load_pixels((GALLERY / item["file"]).read_bytes(), spec, ImageLimits()) for item in items]
    images = vectors("image", precision, np.stack(pixels))  # (N, D)
    texts = vectors("text", precision, bundle().tokenizer(suggestions()).input_ids)  # (4, D)
    best = (texts @ images.T).argmax(axis=1)
    found = {text: items[row]["metadata"]["name"] for text, row in zip(suggestions(), best, strict=True)}
    assert {text: name for text, name in found.items() if name not in RIGHT[text]} == {}
