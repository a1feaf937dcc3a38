from pathlib import Path

from benchmarks.serving.bench import Bench
from benchmarks.serving.in_process import grids_table
from benchmarks.serving.store import Store


def _bench(tmp_path: Path) -> Bench:
    return Bench(Store(tmp_path / "results.json", "here"), 4.0, 1)


def test_every_cell_of_a_grid_stands_in_the_report_and_what_was_not_measured_is_a_dash(
    tmp_path: Path,
) -> None:
    bench = _bench(tmp_path)
    cell = {"batch": 8, "lanes": 1, "encoder_threads": 1, "decode_threads": 1, "per_s": 31.25}
    bench.store.put(
        {"cells": [cell]},
        part="inprocess",
        precision="int8",
        decode="fast",
        lanes=1,
        encoder_threads=1,
        seconds=4.0,
    )
    rows = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in grids_table(bench).splitlines()}
    assert rows["int8 fast, 8"] == "31.2"
    assert rows["int8 fast, 16"] == "-"
    assert "fp32 exact, 8" not in rows


def test_no_grid_is_told_before_one_was_measured(tmp_path: Path) -> None:
    assert grids_table(_bench(tmp_path)) == ""
