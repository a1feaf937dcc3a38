import re
from collections.abc import Callable

import pytest

from diptych.core.tuning.precision import (
    CPU_PROVIDER,
    Candidate,
    choose_fastest,
    choose_for_collections,
    choose_like,
    unfit,
)
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
        ([passed("fp32", 4, 2), passed("int8", 2, 1)], "int8", "int8 is 2.00 times as fast as fp32"),
        ([passed("fp32", 2, 1), passed("int8", 4, 2)], "fp32", "the fastest, and exact"),
        ([passed("fp32", 9, 2), passed("int8", 8, 2)], "fp32", "1.1000 times .*, no more than 1.1: too"),
        ([passed("fp32", 9, 2), passed("int8", 7.9, 2)], "int8", "1.11 times"),
        ([passed("fp32", 11.01, 2.2), passed("int8", 10, 2)], "int8", "1.1008 times"),
        ([passed("fp32", 5, 5), passed("int8", 1, 9.5)], "fp32", "the fastest, and exact"),
        ([passed("fp16", 2, 2), passed("int8", 1, 2)], "int8", "the fastest of those that passed"),
    ],
)
def test_fastest_that_passed_is_chosen_unless_it_gains_too_little_on_fp32(
    candidates: list[Candidate], precision: str, reason: str
) -> None:
    choice = choose_fastest(candidates)
    assert choice.precision == precision
    assert re.search(reason, choice.reason)
    assert choice.candidates == tuple(candidates)


def test_nothing_that_passed_is_an_error_with_every_reason() -> None:
    gpu_only = Candidate("fp16", passed=False, error="fp16 is for a GPU")
    with pytest.raises(BundleError, match=r"fp32: cosine is 0\.5; fp16: fp16 is for a GPU"):
        choose_fastest([failed("fp32"), gpu_only])


@pytest.mark.parametrize(
    ("provider", "passing", "precision"),
    [
        (CPU_PROVIDER, {"fp32", "fp16", "int8"}, "fp32"),
        (CPU_PROVIDER, {"int8"}, "int8"),
        (CUDA, {"fp32", "fp16"}, "fp16"),
        (CUDA, {"fp32"}, "fp32"),
    ],
)
def test_collections_get_the_exact_precision_or_fp16_on_a_gpu(
    provider: str, passing: set[str], precision: str
) -> None:
    passes: Callable[[str], bool] = passing.__contains__
    choice = choose_for_collections(provider, passes, otherwise="int8")
    assert (choice.precision, choice.candidates) == (precision, ())


def test_precision_of_collections_says_when_the_wanted_one_is_not_there() -> None:
    choice = choose_for_collections(CPU_PROVIDER, lambda _: False, otherwise="int8")
    assert choice.reason == "the one of requests: no fp32 of this version passes here"


@pytest.mark.parametrize(
    ("precision", "provider", "is_fit"),
    [
        ("fp32", CPU_PROVIDER, True),
        ("fp32", CUDA, True),
        ("fp16", CPU_PROVIDER, False),
        ("fp16", CUDA, True),
        ("int8", CPU_PROVIDER, True),
        ("int8", CUDA, False),
    ],
)
def test_each_device_has_its_own_fast_precision(precision: str, provider: str, is_fit: bool) -> None:
    assert (unfit(precision, provider) is None) == is_fit


@pytest.mark.parametrize(
    ("precisions", "passing", "found", "tried"),
    [
        (["fp32", "int8"], {"fp32", "int8"}, "int8", ["int8"]),
        (["fp32", "int8"], {"fp32"}, "fp32", ["int8", "fp32"]),
        (["fp32", "fp16"], {"fp32", "fp16"}, "fp32", ["fp32"]),
        (["fp16"], {"fp16"}, "fp16", ["fp16"]),
    ],
)
def test_precision_of_the_version_before_is_taken_if_it_passes_else_the_exact_one(
    precisions: list[str], passing: set[str], found: str, tried: list[str]
) -> None:
    attempted: list[str] = []

    def attempt(precision: str) -> Candidate:
        attempted.append(precision)
        return passed(precision) if precision in passing else failed(precision)

    choice = choose_like("int8", precisions, attempt)
    assert (choice.precision, attempted) == (found, tried)
    assert [candidate.precision for candidate in choice.candidates] == tried


def test_version_of_which_no_precision_passes_is_refused_with_all_reasons() -> None:
    with pytest.raises(BundleError, match=r"int8: cosine is 0\.5; fp32: cosine is 0\.5"):
        choose_like("int8", ["fp32", "int8"], failed)
