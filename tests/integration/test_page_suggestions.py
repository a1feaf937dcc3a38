"""The sample gallery by words: what the page at / suggests, and queries written before any model was asked.

Both search all pictures of the gallery, with the default model and in every precision that it has.
"""

import json
import re
from functools import cache
from itertools import chain
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
WRITTEN = json.loads((ROOT / "tests" / "data" / "gallery_queries.json").read_text(encoding="utf-8"))
CANDIDATES: dict[str, dict[str, list[str]]] = WRITTEN["suggestion_candidates"]
QUERIES: dict[str, dict[str, list[str]]] = WRITTEN["queries"]
BATCH = 16
PRECISIONS = [pytest.param("fp32", marks=pytest.mark.long), "int8"]


@cache
def bundle() -> VerifiedBundle:
    return verify_bundle(default_bundle())


@cache
def items() -> dict[str, str]:
    """The file of each picture by its id."""
    lines = (GALLERY / "items.jsonl").read_text(encoding="utf-8").splitlines()
    return {item["id"]: item["file"] for item in map(json.loads, lines)}


def vectors(tower: str, precision: str, inputs: np.ndarray) -> np.ndarray:
    """Embeddings as the server computes them: (N, D)."""
    graph = f"{tower}_encoder.onnx" if precision == "fp32" else f"{tower}_encoder.{precision}.onnx"
    session = open_session(bundle().folder / graph, n_threads=1, device="cpu")
    name = session.get_inputs()[0].name
    batches = [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]
    return np.concatenate([session.run(None, {name: batch})[0] for batch in batches])


@cache
def pictures(precision: str) -> np.ndarray:
    """The embeddings of the gallery: (N, D)."""
    spec = bundle().manifest.image
    pixels = [load_pixels((GALLERY / file).read_bytes(), spec, ImageLimits()) for file in items().values()]
    return vectors("image", precision, np.stack(pixels))


def wrong_first_hits(queries: dict[str, list[str]], precision: str) -> dict[str, str]:
    """The id of the first hit of each query that finds none of its right pictures first."""
    texts = vectors("text", precision, bundle().tokenizer(list(queries)).input_ids)  # (Q, D)
    best = (texts @ pictures(precision).T).argmax(axis=1)
    first = dict(zip(queries, np.array(list(items()))[best].tolist(), strict=True))
    return {query: found for query, found in first.items() if found not in queries[query]}


def suggestions() -> list[str]:
    examples = re.search(r'<p id="examples".*?</p>', PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert examples is not None
    return re.findall(r"<button[^>]*>(.*?)</button>", examples.group())


def test_each_query_has_its_right_pictures_in_the_gallery() -> None:
    for queries in (*CANDIDATES.values(), *QUERIES.values()):
        assert len(queries) == 10
        assert all(right and set(right) <= set(items()) for right in queries.values())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_first_hit_of_each_suggestion_is_right(precision: str) -> None:
    right = dict(chain.from_iterable(candidates.items() for candidates in CANDIDATES.values()))
    assert wrong_first_hits({text: right[text] for text in suggestions()}, precision) == {}
