"""The server's index and another library's answer the same requests alike."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.search_engines import Engine, K, Own, Rival

N_ROWS, N_MORE, N_QUERIES, DIM = 300, 100, 20, 8
RANDOM = np.random.default_rng(0)
ROWS = RANDOM.standard_normal((N_ROWS + N_MORE, DIM)).astype(np.float32)
QUERIES = RANDOM.standard_normal((N_QUERIES, DIM)).astype(np.float32)
RANKS = np.array([RANDOM.permutation(N_ROWS), np.arange(N_ROWS)], np.int32)


@pytest.fixture(params=["own", "flat"])
def engine(request: Any, tmp_path: Path) -> Iterator[Engine]:
    for name, array in (("rows", ROWS), ("queries", QUERIES), ("ranks", RANKS)):
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "how.json").write_text(json.dumps({"k": K, "n_rows": N_ROWS}), encoding="utf-8")
    made = (
        Own(None, N_ROWS, ROWS, QUERIES, RANKS) if request.param == "own" else Rival(request.param, tmp_path)
    )
    with closing(made):
        yield made


def best(query: "np.ndarray", n_passing: int = N_ROWS) -> list[int]:
    return np.argsort(-(ROWS[:n_passing] @ query))[:K].tolist()


def test_engine_finds_the_nearest_rows_among_those_that_pass(engine: Engine) -> None:
    numbers = [0, 7]
    found = engine.ask(queries=numbers, filter=None)
    assert [list(keys) for keys in found["keys"]] == [best(QUERIES[number]) for number in numbers]
    found = engine.ask(queries=numbers, filter=(1, 50))
    assert [list(keys) for keys in found["keys"]] == [best(QUERIES[number], 50) for number in numbers]
    assert len(found["ms"]) == len(numbers)


def test_rows_that_are_added_under_load_are_found_afterwards(engine: Engine) -> None:
    load = {"queries": [*range(N_QUERIES)], "clients": 3, "seconds": 0.05}
    idle = engine.ask(**load, adds=None)
    assert idle["n_added"] == 0
    assert len(idle["ms"]) >= 3
    busy = engine.ask(**load, adds=N_ROWS)
    assert busy["n_added"] > 0
    found = engine.ask(queries=[*range(N_QUERIES)], filter=None)["keys"]
    assert [list(keys) for keys in found] == [best(query, N_ROWS + busy["n_added"]) for query in QUERIES]
