"""Failures as pictures: what is named wrongly in a proof set, of both kinds, with its author."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych_training.checkpoint import load_run
from diptych_training.evaluate.evaluated_model import EvaluatedModel, evaluated_run
from diptych_training.evaluate.proof_set.proof_set import ProofSet
from diptych_training.evaluate.zero_shot import class_embeddings
from diptych_training.export.model_card.failures import (
    KINDS,
    all_failures,
    failures_of,
    failures_picture,
)
from support.tiny_proof_set import tiny_proof_set
from support.tiny_run import write_tiny_run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EvaluatedModel:
    return evaluated_run(load_run(write_tiny_run(tmp_path_factory.mktemp("runs") / "tiny")), "tiny")


@pytest.fixture
def both() -> ProofSet:
    """Seven drawings of four names; two photographs with two pictures each, and two for rehearsal."""
    drawings = tiny_proof_set()
    photographs = [
        replace(
            drawings.sources[1],
            name=name,
            kind="pairs",
            author=f"photographer of {name}",
            items=tuple(replace(item, label=f"a {name}") for item in drawings.sources[1].items[:2]),
            pictures=drawings.sources[number].pictures[:2],
        )
        for number, name in enumerate(("lake", "dog"))
    ]
    return replace(drawings, sources=(*drawings.sources, *photographs))


def test_drawings_and_photographs_are_counted_each_by_picture_and_by_photograph(
    model: EvaluatedModel, both: ProofSet
) -> None:
    found = {kind: failures_of(model, both, kind) for kind in KINDS}
    assert {kind: (one.n, one.n_names) for kind, one in found.items() if one is not None} == {
        "Drawings": (7, 4),
        "Photographs": (2, 2),
    }
    for one in found.values():
        assert one is not None
        assert 0 <= one.n_right < one.n
        assert all(shown.source.split == "validation" and shown.right != shown.given for shown in one.shown)
        margins = [shown.margin for shown in one.shown]
        assert margins == sorted(margins, reverse=True)


def test_a_right_name_is_no_failure(model: EvaluatedModel, both: ProofSet) -> None:
    rows = class_embeddings(model.encoder, model.tokenizer, ["a dog", "a lake"], model.templates)

    class Knowing:
        """Takes each picture for the lake."""

        encode_text = staticmethod(model.encoder.encode_text)

        def encode_image(self, images: np.ndarray) -> np.ndarray:
            return np.repeat(rows[1:], len(images), axis=0)

    found = failures_of(replace(model, encoder=Knowing()), both, "Photographs")
    assert found is not None
    assert found.n_right == 1
    assert [(one.right, one.given, one.source.author) for one in found.shown] == [
        ("a dog", "a lake", "photographer of dog")
    ]


def test_the_picture_is_a_small_png_and_always_the_same(model: EvaluatedModel, both: ProofSet) -> None:
    found = all_failures(model, both)
    png = failures_picture(found, "tiny")
    assert len(png) <= 200_000
    assert Image.open(io.BytesIO(png)).format == "PNG"
    assert failures_picture(found, "tiny") == png


def test_a_proof_set_without_photographs_has_failures_of_drawings(model: EvaluatedModel) -> None:
    found = all_failures(model, tiny_proof_set())
    assert list(found) == ["Drawings"]
    assert failures_picture(found, "tiny")


def test_the_figure_of_the_documentation_is_small() -> None:
    figure = Path(__file__).parents[5] / "docs" / "figures" / "failures-everyday.png"
    assert figure.stat().st_size <= 200_000
