"""Which precision serves, from what was measured."""

import pytest

from diptych.core.tuning.precision import CPU_PROVIDER, OPENVINO_PROVIDER, Candidate, choose, unfit
from diptych.errors import BundleError

CUDA = "CUDAExecutionProvider"


def passed(precision: str, image_ms: float | None = None, text_ms: float | None = None) -> Candidate:
    return Candidate(precision, passed=True, image_ms=image_ms, text_ms=text_ms)


def failed(precision: str) -> Candidate:
    return Candidate(precision, passed=False, error="cosine is 0.5")


@pytest.mark.parametrize(
    ("candidates", "precision", "reason"),
    [
        ([passed("fp32")], "fp32", "the only precision of this version"),
        ([passed("fp32"), failed("int8")], "fp32", "the only one that passed here"),
        ([failed("fp32"), passed("int8")], "int8", "the only one that passed here"),
        ([passed("fp32", 2, 1), passed("int8", 4, 2)], "fp32", "the most exact, and the fastest"),
        ([passed("fp32", 6, 3), passed("int8", 4, 2)], "fp32", "two thirds of the speed of int8: 67%"),
        ([passed("fp32", 6, 3.1), passed("int8", 4, 2)], "int8", "the fastest; no exacter one reaches"),
        ([passed("fp32", 9, 9), passed("fp16", 3, 3), passed("int8", 2, 2)], "fp16", "of int8: 67%"),
        ([passed("fp32", 9, 9), passed("bf16", 3, 3), passed("int8", 2, 2)], "bf16", "of int8: 67%"),
        (
            [failed("fp32"), passed("fp16", 2, 2), passed("int8", 3, 2)],
            "fp16",
            "the most exact, and the fast",
        ),
    ],
)
def test_most_exact_that_reaches_two_thirds_of_the_fastest_ones_speed_is_chosen(
    candidates: list[Candidate], precision: str, reason: str
) -> None:
    choice = choose(candidates)
    assert choice.precision == precision
    assert reason in choice.reason
    assert choice.candidates == tuple(candidates)


def test_nothing_that_passed_is_an_error_with_every_reason() -> None:
    gpu_only = Candidate("fp16", passed=False, error="fp16 is for a GPU")
    with pytest.raises(BundleError, match=r"fp32: cosine is 0\.5; fp16: fp16 is for a GPU"):
        choose([failed("fp32"), gpu_only])


@pytest.mark.parametrize(
    ("precision", "provider", "is_fit"),
    [
        ("fp32", CPU_PROVIDER, True),
        ("fp32", CUDA, True),
        ("fp16", CPU_PROVIDER, False),
        ("fp16", CUDA, True),
        ("int8", CPU_PROVIDER, True),
        ("int8", CUDA, False),
        ("bf16", OPENVINO_PROVIDER, True),
        ("bf16", CUDA, False),
    ],
)
def test_each_device_has_its_own_fast_precision(precision: str, provider: str, is_fit: bool) -> None:
    assert (unfit(precision, provider) is None) == is_fit
