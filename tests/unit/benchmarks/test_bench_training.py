"""What the benchmark of training says of its figures."""

import csv

import pytest
from PIL import Image

from benchmarks.serving.environments import packages
from benchmarks.training.data import write_pairs
from benchmarks.training.report import OURS, THEIRS, loss_difference, verdict
from benchmarks.training.task import BATCH_SIZE, IMAGE_SIZE, Turn


def turn(step_s: float, loss: float) -> Turn:
    return Turn([9.0, 9.0, 9.0, step_s, step_s], [5.0, 5.0, 5.0, *[loss] * 5], peak_mb=100, cpu_share=1.9)


def test_its_environment_comes_from_what_pip_is_configured_for():
    asked = packages("open_clip", "2.13.0+cpu")
    assert asked[0] == "torch==2.13.0"
    assert not any(part.startswith("-") or "://" in part for part in asked)


def test_the_first_steps_do_not_count():
    assert turn(2.0, 1.0).images_per_s(n_warm=3) == BATCH_SIZE / 2


def test_the_loss_is_the_mean_of_the_last_steps():
    assert loss_difference(turn(1, 3.03), turn(1, 3.0)) == pytest.approx(0.01)


def test_both_bars_are_judged_round_by_round():
    ours, theirs = [turn(1, 3.0), turn(2, 3.0)], [turn(1.8, 3.0), turn(3.6, 3.0)]
    assert "1.80 times as many images/s (kept: >= 1.7)" in verdict({OURS: ours, THEIRS: theirs})
    assert "1.00 times as many images/s (MISSED" in verdict({OURS: theirs, THEIRS: theirs})
    worse = [turn(1, 3.3), turn(2, 3.3)]
    assert "differs by 10.00% (MISSED: <= 2%)" in verdict({OURS: worse, THEIRS: theirs})


def test_no_batch_of_pairs_has_a_caption_twice(tmp_path):
    with write_pairs(tmp_path, n_steps=2).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 2 * BATCH_SIZE
    for batch in (rows[:BATCH_SIZE], rows[BATCH_SIZE:]):
        assert len({row["title"] for row in batch}) == BATCH_SIZE
    n_words = [len(row["title"].split()) for row in rows]
    assert 9 < sum(n_words) / len(n_words) < 11.5
    with Image.open(tmp_path / rows[0]["filepath"]) as picture:
        assert (picture.size, picture.mode) == ((IMAGE_SIZE, IMAGE_SIZE), "RGB")
