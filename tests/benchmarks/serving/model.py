"""Random-weight CLIP checkpoints and the bundles that our own pipeline makes of them; measures nothing.

Seeded, so the same every time: speed and memory are those of trained weights, what the vectors mean is not.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.serving.places import REPOSITORY, in_cache
from benchmarks.serving.sources import sources_hash
from benchmarks.serving.texts import captions
from benchmarks.serving.workers import ask
from diptych.bundle.manifest import TOKENIZER_FILE, read_manifest
from diptych.bundle.text import TextTokenizer
from diptych_training.export.optimise import REWRITES

# Of matrix products: (K, N) of those with weights, (M, K, N) of those within an attention, of each head.
Product = tuple[int, ...]
Gflop = dict[Product, float]

MAIN = "vit-b-32"
PROOF_IMAGES, FEW_PROOF_IMAGES = 64, 16  # few: of models that only show how cost grows
MAX_TOKENS = 20  # infinity cuts what is longer, whatever the context: it would do less than the others
PARITY = ("cosine_min", "cosine_mean", "batch_cosine_min", "n_images", "n_texts")
EXPORTERS = ("torch", "onnx", "onnxscript", "onnxruntime", "transformers")
SMALL_TEXT = {"num_hidden_layers": 2}
TOKENS = 50  # of an image: 7 x 7 patches and the class token
HEAD = 64  # the width of each head


def is_with_weights(product: Product) -> bool:
    """Else it is of an attention: logits, or the sums of values."""
    return len(product) == 2


def _vision(width: int, depth: int) -> dict[str, int]:
    rest = {"num_attention_heads": width // HEAD, "patch_size": 32}
    return {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth, **rest}


@dataclass(frozen=True)
class Shape:
    """One image tower of 224 pixels in patches of 32; `text` changes CLIP's own text tower."""

    width: int
    depth: int
    text: dict[str, int]
    precisions: str

    @property
    def heads(self) -> int:
        """Of each block's attention."""
        return self.width // HEAD

    def gflop_per_image(self, *, as_arranged: bool = False) -> Gflop:
        """GFLOP an image by product.

        `as_arranged` by importing: behind its attention the last block sees the pooled token alone.
        """
        w = self.width
        gflop = 2 * w * w / 1e9  # of one square matrix with one token
        rows = (self.depth - 1) * TOKENS + (1 if as_arranged else TOKENS)
        square = gflop * (3 * self.depth * TOKENS + rows)  # queries, keys, values; projection
        mlp = gflop * 4 * rows
        patches = 2 * 49 * 3 * 32 * 32 * w / 1e9
        attention = 2 * self.depth * TOKENS * HEAD * TOKENS * self.heads / 1e9
        products: Gflop = {(w, w): square, (w, 4 * w): mlp, (4 * w, w): mlp}
        products[3072, w] = products.get((3072, w), 0.0) + patches
        return products | {(TOKENS, HEAD, TOKENS): attention, (TOKENS, TOKENS, HEAD): attention}

    def n_products(self) -> dict[Product, int]:
        """How many the tower has of each in one image: matrices of weights, and heads of all blocks."""
        w = self.width
        counts: dict[Product, int] = {(w, w): 4 * self.depth, (w, 4 * w): self.depth, (4 * w, w): self.depth}
        counts[3072, w] = counts.get((3072, w), 0) + 1
        heads = self.heads * self.depth
        return counts | {(TOKENS, HEAD, TOKENS): heads, (TOKENS, TOKENS, HEAD): heads}


SHAPES = {
    "vit-s-32": Shape(384, 12, SMALL_TEXT, "fp32"),
    MAIN: Shape(768, 12, {}, "fp32,int8"),
    "vit-l-32": Shape(1024, 24, SMALL_TEXT, "fp32"),
}


def checkpoint(name: str) -> Path:
    """The folder as transformers saves it; made when it is missing, or was made by other sources."""
    folder = in_cache("checkpoints", name)
    if _is_stale(folder, _checkpoint_sources(name)):
        _unmark(folder)
        shape = SHAPES[name]
        ask("checkpoint", folder=str(folder), vision=_vision(shape.width, shape.depth), text=shape.text)
        _mark(folder, _checkpoint_sources(name))
    return folder


def bundle(name: str) -> Path:
    """The version folder in `model_repo()`; imported by `diptych-train import` when it is missing or stale.

    Stale: other sources or releases made it than would make it now.
    """
    folder = model_repo() / name / "1"
    if _is_stale(folder.parent, bundle_sources(name)):
        print(f"importing {name}: once for these sources, some minutes", file=sys.stderr, flush=True)
        _unmark(folder.parent)
        command = [sys.executable, "-m", "diptych_training", "import", str(checkpoint(name)), "--ungated"]
        command += ["--name", name, "--precisions", SHAPES[name].precisions, "--offline"]
        n_images = PROOF_IMAGES if name == MAIN else FEW_PROOF_IMAGES
        command += ["--proof-images", str(n_images), "--model-repo", str(model_repo())]
        subprocess.run(command, check=True, stdout=sys.stderr, cwd=REPOSITORY)
        _mark(folder.parent, bundle_sources(name))
    return folder


@cache
def bundle_sources(name: str) -> str:
    """Of all that decides what an import makes: checkpoint, exporter, bundle format, releases."""
    training, server = REPOSITORY / "training" / "src" / "diptych_training", REPOSITORY / "server" / "src"
    places = [training / "export", training / "importing", training / "models", server / "diptych" / "bundle"]
    releases = [f"{package} {version(package)}" for package in EXPORTERS]
    return sources_hash(places, _checkpoint_sources(name), *releases)


@cache
def _checkpoint_sources(name: str) -> str:
    benchmarks = REPOSITORY / "tests" / "benchmarks"
    places = [benchmarks / "import_full_size.py", benchmarks / "serving" / "checkpoint.py"]
    return sources_hash(places, repr(SHAPES[name]))


def _is_stale(folder: Path, sources: str) -> bool:
    """Whether it is missing, half made, or was made by other sources than these."""
    mark = _mark_of(folder)
    return not folder.exists() or not mark.exists() or mark.read_text(encoding="utf-8") != sources


def _mark(folder: Path, sources: str) -> None:
    _mark_of(folder).write_text(sources, encoding="utf-8")


def _unmark(folder: Path) -> None:
    """It and what it was made by are gone: what is interrupted from here on counts as missing."""
    _mark_of(folder).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _mark_of(folder: Path) -> Path:
    """Beside what a server reads, not in it."""
    return in_cache("made-by", f"{folder.parent.name}-{folder.name}.txt")


def bundle_facts(name: str) -> dict[str, Any]:
    """When it was imported, by which sources, and how far each precision is from float32."""
    manifest = read_manifest(bundle(name))
    parity = {
        name: {figure: getattr(files.parity, figure) for figure in PARITY}
        for name, files in manifest.precisions.items()
    }
    made = f"{manifest.created_at:%Y-%m-%d %H:%M}"
    return {"made_at": made, "sources": bundle_sources(name), "parity": parity}


def model_repo() -> Path:
    """The benchmark's own model repository."""
    return in_cache("model_repo")


def image_graph(folder: Path, precision: str) -> Path:
    """The image encoder's file of one precision."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return folder / str(manifest["precisions"][precision]["image_file"])


def is_arranged(folder: Path) -> bool:
    """Whether importing moved the pooling before the last block's feed-forward part."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    steps = manifest["extra"].get("optimised", {}).get("image", [])
    return {step["name"] for step in steps if step["kept"]} >= {name for name in REWRITES if "pool" in name}


def main_texts() -> tuple[list[str], list[int]]:
    """The captions that all servers get, and their lengths in tokens."""
    folder = bundle(MAIN)
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, read_manifest(folder).text)

    def length(text: str) -> int:
        return len(tokenizer.ids(text)[0])

    texts = captions(length, MAX_TOKENS)
    return texts, [length(text) for text in texts]
