"""The bounds of publication."""

import pytest

from diptych.bundle.manifest import Parity
from diptych.bundle.parity import broken_bounds
from diptych_training.errors import ParityFailed, TooFewSamples
from diptych_training.export.proof.prove import parity_table, require_parity

PERFECT = Parity(
    cosine_min=1.0,
    cosine_mean=1.0,
    top1_agreement=1.0,
    n_near_ties=0,
    recall_delta=0.0,
    batch_cosine_min=1.0,
    n_images=1000,
    n_texts=100,
)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_perfect_parity_passes_every_precision(precision: str) -> None:
    require_parity(PERFECT, precision)


@pytest.mark.parametrize(
    ("precision", "measure", "value"),
    [
        ("fp32", "cosine_min", 0.99998),
        ("fp16", "cosine_min", 0.9989),
        ("int8", "cosine_mean", 0.989),
        ("int8", "top1_agreement", 0.979),
        ("fp32", "batch_cosine_min", 0.99998),
        ("int8", "batch_cosine_min", 0.99985),
    ],
)
def test_each_broken_bound_is_named_with_its_value(precision: str, measure: str, value: float) -> None:
    parity = PERFECT.model_copy(update={measure: value})

    with pytest.raises(ParityFailed, match=f"{precision}.*{measure} is {value}"):
        require_parity(parity, precision)


@pytest.mark.parametrize(("measure", "value"), [("n_images", 999), ("n_texts", 99)])
def test_too_few_samples_are_no_failure_of_the_model(measure: str, value: int) -> None:
    few = PERFECT.model_copy(update={measure: value})

    with pytest.raises(TooFewSamples, match=f"fp32 has no sufficient proof: .*{value} "):
        require_parity(few, "fp32")
    with pytest.raises(ParityFailed, match=f"cosine_min is 0.9, .*; {measure} is {value}"):
        require_parity(few.model_copy(update={"cosine_min": 0.9}), "fp32")


def test_not_a_number_breaks_its_bound() -> None:
    parity = PERFECT.model_copy(update={"cosine_min": float("nan")})

    assert broken_bounds(parity, "fp32") == ["cosine_min is nan, the bound is 0.99999"]


def test_low_int8_minimum_passes_while_the_mean_is_high() -> None:
    assert broken_bounds(PERFECT.model_copy(update={"cosine_min": 0.97}), "int8") == []


def test_parity_table_shows_every_measure_beside_its_bound() -> None:
    table = parity_table({"fp32": PERFECT})

    assert "1.0000000 (>= 0.99999)" in table
    assert all(measure in table for measure in Parity.model_fields)


def test_parity_table_counts_texts_that_were_left_out_where_some_may_be() -> None:
    assert "left out" not in parity_table({"fp32": PERFECT})
    table = parity_table({"fp32": PERFECT, "int8": PERFECT}, 9)

    assert table.splitlines()[-1].startswith("| texts left out: other ids than in the original ")
    assert table.splitlines()[-1].count(" 9 |") == 2


@pytest.mark.parametrize(("n_near_ties", "judged"), [(0, "1,000 of"), (170, "830 of"), (501, "1,000 of")])
def test_parity_table_says_how_many_images_were_judged(n_near_ties: int, judged: str) -> None:
    table = parity_table({"int8": PERFECT.model_copy(update={"n_near_ties": n_near_ties})})

    assert table.splitlines()[-1].endswith(f" {judged} 1,000 |")
