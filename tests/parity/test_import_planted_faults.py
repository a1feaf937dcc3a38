"""The gate of an import sees every planted mistake, with ten times the bound to spare, on twelve layers."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import pytest

from diptych.bundle.manifest import Parity
from diptych.bundle.parity import broken_bounds
from diptych_training.errors import ParityFailed
from diptych_training.export.onnx.bundle_files import (
    IMAGE_FILE,
    TEXT_FILE,
    write_image_graph,
    write_text_graph,
)
from diptych_training.export.proof.prove import prove_parity, require_parity
from diptych_training.importing.common.imported_model import Choices, ImportedModel, LibraryEncoder
from diptych_training.importing.proof import proof_by_library
from diptych_training.importing.publish import write_tokenizer
from diptych_training.importing.source import find_source
from diptych_training.importing.text_differences import TextDifferences
from support.hugging_face_checkpoints import make_clip, make_siglip
from support.open_clip_checkpoints import make_hf_text, make_vit
from support.planted_faults import FAULTS

LAYERS = 12
N_IMAGES = 96  # the gate wants 1,000 to publish; each of these mistakes shows on fewer
TO_SPARE = 1e-4  # ten times the bound of float32, on 1 - cosine
pytestmark = pytest.mark.long  # exports of twelve layers; the gate itself has short tests elsewhere

CHECKPOINTS: dict[str, Callable[[Path], Path]] = {
    # square projections, so that a missing or a transposed one still runs; padded by the end-of-text id
    "clip": partial(make_clip, layers=LAYERS, embed_dim=32, old_eos=True),
    "siglip": partial(make_siglip, layers=LAYERS),
    "open_clip": partial(make_vit, layers=LAYERS, embed_dim=64, quick_gelu=True),
    "roberta": partial(make_hf_text, layers=LAYERS),
}


@dataclass(frozen=True)
class Honest:
    """A checkpoint imported rightly: its graphs and tokenizer in `folder`."""

    checkpoint: Path
    folder: Path
    library: LibraryEncoder
    differences: TextDifferences


@pytest.fixture(scope="module", autouse=True)
def _offline() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def honest_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Honest]:
    """Makes and exports each checkpoint once."""

    @cache
    def make(name: str) -> Honest:
        checkpoint = CHECKPOINTS[name](tmp_path_factory.mktemp(name) / "checkpoint")
        folder = tmp_path_factory.mktemp(f"{name}-honest")
        imported = load(checkpoint)
        differences = write_tokenizer(imported, folder)
        write_graphs(imported, folder, {"image", "text"})
        return Honest(checkpoint, folder, imported.library, differences)

    return make


def load(checkpoint: Path) -> ImportedModel:
    return find_source(str(checkpoint), Choices()).load()


def write_graphs(imported: ImportedModel, folder: Path, which: set[str | None]) -> None:
    if "image" in which:
        write_image_graph(imported.model, imported.image, folder / IMAGE_FILE)
    if "text" in which:
        write_text_graph(imported.model, imported.text, folder / TEXT_FILE)


def prove(candidate: ImportedModel, honest: Honest, folder: Path) -> Parity:
    """The pipeline's own proof of a candidate's folder against the library of an untouched checkpoint."""
    held = replace(candidate, library=honest.library)
    proof = proof_by_library(held, folder, N_IMAGES, honest.differences, lambda _: None)
    return prove_parity(folder, "fp32", proof, lambda _: None)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_model_without_a_fault_passes(name: str, honest_of: Callable[[str], Honest]) -> None:
    honest = honest_of(name)
    parity = prove(load(honest.checkpoint), honest, honest.folder)
    assert broken_bounds(parity, "fp32") == [f"n_images is {N_IMAGES}, the bound is 1000"], parity


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_seen_with_ten_times_the_bound_to_spare(
    name: str, honest_of: Callable[[str], Honest], tmp_path: Path
) -> None:
    fault = FAULTS[name]
    honest = honest_of(fault.of)
    shutil.copytree(honest.folder, tmp_path, dirs_exist_ok=True)
    faulty = fault.plant(load(honest.checkpoint))
    write_graphs(faulty, tmp_path, {fault.graph})

    parity = prove(faulty, honest, tmp_path)

    error = 1 - parity.cosine_min
    told = f"{name}: 1 - cosine_min is {error:.1e} (mean {1 - parity.cosine_mean:.1e})"
    print(told)  # `pytest -rP` shows it
    assert error >= TO_SPARE, f"{told}, wanted at least {TO_SPARE:.0e}"
    with pytest.raises(ParityFailed, match="cosine_min is"):
        require_parity(parity, "fp32")
