"""A complete bundle of a few kilobytes, built in milliseconds without torch or trained weights.

    version = write_tiny_bundle(tmp_path / "model_repo")          # model `tiny`, version 1, precision fp32
    write_tiny_bundle(tmp_path / "model_repo", seed=1)            # version 2: vectors of another space
    write_tiny_bundle(repo, precisions={"fp32": "slow", "int8": "equal"})

The vector of a colour word (`support.tiny_graphs.COLOURS`) is close to those of pictures of that colour.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
import onnx

from diptych.bundle.golden import Golden, write_golden
from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych.bundle.manifest import ManifestDraft, Precision
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text.tokenizer import TextTokenizer
from support.bundle_examples import draft, image_spec, parity, text_spec
from support.faulty_graphs import faulty
from support.pictures import noise, picture
from support.tiny_graphs import (
    TinyWeights,
    image_graph,
    image_reference,
    make_weights,
    rounded,
    slowed,
    text_graph,
    text_reference,
)
from support.tiny_tokenizer import PAD, write_tiny_tokenizer

TINY = "tiny"
EMBED_DIM = 16
IMAGE_SIZE = 32
CONTEXT_LENGTH = 24
GLACIAL_ROUNDS, GLACIAL_WIDTH = 16, 4096  # about 50 ms an item on one thread
_GOLDEN_TEXTS = ["red", "a picture of something blue.", ""]


# "rounded" has 8-bit weights; "broken" does not reproduce the golden embeddings; "faulty" fails on pictures
# of certain greys.
Fault = Literal["equal", "rounded", "slow", "glacial", "broken", "faulty"]


@dataclass(frozen=True)
class TinySizes:
    """What another version of the tiny model may have different."""

    embed_dim: int = EMBED_DIM
    image_size: int = IMAGE_SIZE
    context_length: int = CONTEXT_LENGTH
    family: Literal["clip", "siglip"] = "clip"
    more_words: tuple[str, ...] = ()  # of its tokenizer


def write_tiny_bundle(
    model_repo: Path,
    name: str = TINY,
    *,
    seed: int = 0,
    ungated: bool = False,
    precisions: Mapping[str, Fault] | None = None,
    external_data: bool = False,
    sizes: "TinySizes | None" = None,
    extra: Mapping[str, Any] | None = None,
) -> int:
    """Build and publish the tiny model; return its version.

    `precisions` maps each precision to the behaviour of its graphs, which are float32 graphs in every case.
    `external_data` stores the weights of each graph in a separate file beside it. `extra` goes into the
    manifest.
    """
    chosen, sizes = precisions or {"fp32": "equal"}, sizes or TinySizes()
    repository = ModelRepository(model_repo)
    with repository.staging(name) as folder:
        vocabulary = write_tiny_tokenizer(folder / "tokenizer.json", sizes.more_words)
        weights, others = (
            make_weights(
                vocabulary,
                vocabulary[PAD],
                image_size=sizes.image_size,
                embed_dim=sizes.embed_dim,
                seed=number,
            )
            for number in (seed, seed + 1000)
        )
        for precision, fault in chosen.items():
            image_file, text_file = _graph_files(precision)
            used = others if fault == "broken" else rounded(weights) if fault == "rounded" else weights
            _save(_with(image_graph(used), fault), folder / image_file, external_data)
            _save(_with(text_graph(used), fault), folder / text_file, external_data)
        made = _draft(weights, ungated, tuple(chosen), sizes)
        write_golden(folder / "golden.npz", _golden(folder, weights, made))
        return repository.publish(name, folder, made.model_copy(update={"extra": dict(extra or {})}))


def add_files(folder: Path, files: dict[str, bytes]) -> None:
    """Add files to a published bundle, and to its manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, payload in files.items():
        (folder / name).write_bytes(payload)
        manifest["files"][name] = {"sha256": hashlib.sha256(payload).hexdigest(), "bytes": len(payload)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _graph_files(precision: str) -> tuple[str, str]:
    suffix = "" if precision == "fp32" else f".{precision}"
    return f"image_encoder{suffix}.onnx", f"text_encoder{suffix}.onnx"


def _with(graph: onnx.ModelProto, fault: Fault) -> onnx.ModelProto:
    match fault:
        case "slow":
            return slowed(graph)
        case "glacial":
            return slowed(graph, GLACIAL_ROUNDS, GLACIAL_WIDTH)
        case "faulty":
            return faulty(graph) if graph.graph.input[0].name == "pixels" else graph
        case "equal" | "rounded" | "broken":
            return graph
        case _:
            assert_never(fault)


def _save(graph: onnx.ModelProto, file: Path, external_data: bool) -> None:
    if external_data:
        onnx.save(graph, file, save_as_external_data=True, location=f"{file.name}.data")
    else:
        onnx.save(graph, file)


def _draft(
    weights: TinyWeights, ungated: bool, precisions: tuple[str, ...], sizes: TinySizes
) -> ManifestDraft:
    graphs = {}
    for precision in precisions:
        image_file, text_file = _graph_files(precision)
        proven = None if ungated else parity()
        graphs[precision] = Precision(image_file=image_file, text_file=text_file, parity=proven)
    return draft(
        family=sizes.family,
        embed_dim=sizes.embed_dim,
        logit_scale=20.0,
        image=image_spec(size=sizes.image_size, std=(1.0, 1.0, 1.0)),
        text=text_spec(
            context_length=sizes.context_length,
            pad_id=weights.pad_id,
            prompts={"default": ["a picture of {}."], "plain": ["{}"]},
        ),
        precisions=graphs,
        source={"kind": "test"},
        metrics={"top1": 1.0},
        data_card="made of numbers",
        ungated=ungated,
    )


def _golden(folder: Path, weights: TinyWeights, made: ManifestDraft) -> Golden:
    images = [picture("red"), picture("blue", (33, 90), "JPEG"), noise(0)]
    pixels = np.stack([load_pixels(image, made.image, ImageLimits()) for image in images])
    tokens = TextTokenizer(folder / "tokenizer.json", made.text)(_GOLDEN_TEXTS)
    return Golden(
        image_files=images,
        pixels=pixels,
        image_embedding=image_reference(weights, pixels),
        texts=_GOLDEN_TEXTS,
        input_ids=tokens.input_ids,
        text_embedding=text_reference(weights, tokens.input_ids),
    )


def write_changed_bundle(
    repo: Path,
    scratch: Path,
    change: Callable[[Path], object],
    precisions: Mapping[str, Fault] | None = None,
) -> None:
    """Publish `tiny/1` after `change` has edited its files."""
    write_tiny_bundle(scratch, precisions=precisions)
    made, repository = ModelRepository(scratch), ModelRepository(repo)
    manifest = made.manifest(TINY, 1)
    with repository.staging(TINY) as staged:
        for file in manifest.files:
            shutil.copyfile(made.folder(TINY, 1) / file, staged / file)
        change(staged)
        kept = {key: getattr(manifest, key) for key in ManifestDraft.model_fields}
        repository.publish(TINY, staged, ManifestDraft(**kept))
