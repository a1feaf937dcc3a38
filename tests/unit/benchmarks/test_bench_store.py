from pathlib import Path

from benchmarks.serving.findings import ratios
from benchmarks.serving.store import Store


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    Store(file, "here").put({"per_s": 2.0}, part="http", clients=8)
    assert Store(file, "here").get(clients=8, part="http") == {"per_s": 2.0}
    assert Store(file, "here").get(part="http", clients=32) is None


def test_fresh_forgets(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    Store(file, "here").put({"per_s": 2.0}, part="http")
    assert Store(file, "here", fresh=True).get(part="http") is None


def test_all_finds_by_some_of_the_parameters(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.json", "here")
    for number in range(2):
        store.put({"per_s": float(number)}, part="http", round=number)
    store.put({"per_s": 9.0}, part="limit", round=0)
    assert [figures["per_s"] for _, figures in store.all(part="http")] == [0.0, 1.0]


def test_only_figures_of_one_round_are_compared() -> None:
    assert ratios({0: 3.0, 1: 8.0}, {1: 2.0, 2: 1.0}) == [4.0]


def test_what_another_commit_or_machine_has_measured_is_not_taken_for_this_one(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    Store(file, "commit a").put({"per_s": 2.0}, part="http")
    assert Store(file, "commit b").get(part="http") is None
    assert Store(file, "commit a").get(part="http") == {"per_s": 2.0}
