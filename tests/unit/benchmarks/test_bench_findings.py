from pathlib import Path

from benchmarks.serving.bench import Bench
from benchmarks.serving.findings import rounds
from benchmarks.serving.store import Store


def test_no_more_rounds_are_told_than_were_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.json", "here")
    for number in range(3):
        store.put({"per_s": float(number)}, part="http", round=number, seconds=4.0)
    assert rounds(Bench(store, 4.0, 2), "per_s", part="http") == {0: 0.0, 1: 1.0}
