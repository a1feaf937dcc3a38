"""The check's searches on a card, over a stand-in for one."""

from dataclasses import replace

import pytest

from benchmarks.gpu_check.findings import Finding
from benchmarks.gpu_check.searching import measure_searches
from benchmarks.gpu_check.sizes import DRY
from support.fake_faiss_gpu import FakeFaissGpu

SIZES = replace(DRY, rows=(3_000,), n_queries=20)


def searched(*, on_card: bool = True) -> dict[str, Finding]:
    return {one.name: one for one in measure_searches(SIZES, on_card=on_card) if one.kind != "made"}


def test_the_card_is_held_against_the_cpu_whole_and_in_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeFaissGpu().install(monkeypatch)
    found = searched()
    assert list(found) == ["CPU, 3,000 rows", "card, 3,000 rows", "card in lists, 3,000 rows"]
    assert all(one.ok for one in found.values())
    exact, lists = found["card, 3,000 rows"], found["card in lists, 3,000 rows"]
    assert (exact.figures["same"], exact.figures["recall"]) == (1.0, 1.0)
    assert lists.figures["recall"] >= 0.99
    assert " lists, of which " in lists.note


def test_lists_that_are_not_taken_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeFaissGpu(bad_lists=True).install(monkeypatch)
    found = searched()
    assert found["3,000 rows, card in lists"].is_failure
    assert "below 99.0%" in found["3,000 rows, card in lists"].note
    assert found["card in lists, 3,000 rows"].ok, "it is whole then, and exact"


def test_without_a_card_the_cpu_is_timed() -> None:
    assert list(searched(on_card=False)) == ["CPU, 3,000 rows"]
