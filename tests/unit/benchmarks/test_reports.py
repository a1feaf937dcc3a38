"""What the benchmarks write of their figures, and when a bar counts as met."""

import numpy as np
import pytest

from benchmarks import search, serving, soak, training
from benchmarks.load import Window
from benchmarks.report import between_marks, verdicts_table
from benchmarks.soak_requests import World
from benchmarks.store import as_nowhere_else

MODEL, LOAD = serving.MODELS[0], serving.VIT_LOADS[1]


def windows(*figures: tuple[float, float]) -> list[Window]:
    return [Window(per_s, cpu_ms, [10.0], 100.0) for per_s, cpu_ms in figures]


def met(verdicts: object) -> list[bool]:
    return [one.met for one in verdicts]  # type: ignore[attr-defined]


def test_text_goes_between_its_marks_and_nowhere_else() -> None:
    old = "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n"
    assert between_marks(old, "new\n", "x.md", "bench") == old.replace("old", "new")
    with pytest.raises(SystemExit, match=r"x\.md has no <!-- soak:begin -->"):
        between_marks(old, "new", "x.md", "soak")


def test_commits_are_compared_pair_by_pair() -> None:
    ours, other = windows((100, 10), (50, 10), (90, 10)), windows((100, 10), (60, 10), (100, 9))
    row = serving.Row(MODEL, LOAD, {"this commit": ours, "the other commit": other})
    assert met(serving.verdicts([row])) == [True, True]
    assert row.ratios("the other commit", "per_s") == pytest.approx([1.0, 50 / 60, 0.9])
    dear = serving.Row(
        MODEL, LOAD, {"this commit": windows((80, 11)), "the other commit": windows((100, 10))}
    )
    assert met(serving.verdicts([dear])) == [False, False]
    assert "| 1.100 (1.100 to 1.100) |" in serving.ratios_table([dear])
    assert "**no**" in verdicts_table(list(serving.verdicts([dear])))


def test_server_is_held_against_infinity_and_the_work_in_process() -> None:
    found = {"this commit": windows((20, 50)), "in process": windows((21, 50)), "infinity": windows((18, 50))}
    bars = {one.what: one.met for one in serving.verdicts([serving.Row(MODEL, LOAD, found)])}
    assert bars == {
        "vit-b-32 fp32: photo, 32 clients over in process": True,
        "vit-b-32 fp32: photo, 32 clients over infinity": False,  # 1.11, where it is to be 1.25
    }


def test_soak_is_good_only_where_nothing_is_missing() -> None:
    tally = soak.Tally(memory=[(float(second), 500_000_000) for second in range(100)], n_probes=100)
    tally.good["embed"]["200"] = 1000
    tally.hostile["file"]["422"] = 50
    assert all(met(soak.verdicts(World(), tally)))
    for name, value in {
        "failed": ["embed: 500"], "wrong": ["file: 500"], "unready": ["at 3 s"], "lost": ["s1 is missing"],
        "logged": ["Traceback"], "n_server_errors": 1, "ended_by": "a signal",
    }.items():  # fmt: skip
        before = getattr(tally, name)
        setattr(tally, name, value)
        assert met(soak.verdicts(World(), tally)).count(False) == 1, name
        setattr(tally, name, before)
    assert met(soak.verdicts(World(lowest_cosine=0.999), tally)).count(False) == 1
    assert not all(met(soak.verdicts(World(), soak.Tally()))), "nothing was asked"


def test_memory_that_grows_after_the_first_quarter_is_seen() -> None:
    flat = [(float(second), 900 if second < 20 else 500) for second in range(100)]
    assert soak.memory_growth(flat) == pytest.approx(0.0, abs=1e-6)
    growing = [(float(second), 500 + second) for second in range(100)]
    assert soak.memory_growth(growing) == pytest.approx(74 / 525, rel=0.01)
    assert soak.memory_growth([]) is None


def turn(step_s: float, loss: float) -> training.Turn:
    return training.Turn([9.0, 9.0, 9.0, step_s, step_s], [5.0, 5.0, 5.0, *[loss] * 5], 100, 1.9)


def test_trainers_are_judged_round_by_round_without_their_first_steps() -> None:
    assert turn(2.0, 1.0).images_per_s == training.BATCH_SIZE / 2
    ours, theirs = [turn(1, 3.0), turn(2, 3.0)], [turn(1.8, 3.03), turn(3.6, 3.03)]
    assert met(training.verdicts({training.OURS: ours, training.THEIRS: theirs})) == [True, True]
    worse = [turn(1.5, 3.3), turn(3, 3.3)]
    assert met(training.verdicts({training.OURS: worse, training.THEIRS: theirs})) == [False, False]


def test_same_photograph_is_another_file() -> None:
    photo = b"\xff\xd8\xff\xe0rest"
    assert as_nowhere_else(photo, 12) == b"\xff\xd8\xff\xfe\x00\x0412\xff\xe0rest"


def test_searches_are_held_against_faiss_and_starts_against_ten_seconds() -> None:
    speed = {1: search.Speed(50.0, 20.0, 30.0), 16: search.Speed(60.0, 260.0, 300.0)}
    parts = {"index": 1.5, "metadata": 0.5}
    searched = [
        search.Searched(1_000, kind, 80.0, speed, parts, speed, n_near=100) for kind in search.FILTERS
    ]
    starts = [search.Started(1_000, ready_s, 12.0, 0.5, 1.0, 300.0) for ready_s in (9.0, 11.0)]
    assert met(search.verdicts_of(starts, searched)) == [True, False, True]
    searched[0].n_near = 99
    assert met(search.verdicts_of(starts, searched)) == [True, False, False]
    searched[0].n_rows = 100_000
    searched[1].n_rows = 100_000
    assert met(search.verdicts_of(starts, searched)) == [True, False, True, True], "0.995 in large ones"
    assert "| 1,000, 1% | 20.0 | 30.0 | 50.0 | 260.0 |" in search.searches_table(searched)


def test_rows_are_the_pictures_first_and_then_the_same_with_noise_of_a_known_norm() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((1_500, 64)).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    rows = search.Rows(pictures).first(3_000)
    assert rows[:1_500] == pytest.approx(pictures, abs=1e-6)
    apart = np.linalg.norm(rows[1_500:] - pictures, axis=1)
    assert apart.mean() == pytest.approx(0.1, rel=0.1)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1)
    assert np.array_equal(search.Rows(pictures).first(2_000), rows[:2_000])


def test_hits_with_the_same_cosine_may_stand_for_each_other() -> None:
    cosines = np.array([0.9, 0.5, 0.5, 0.1], np.float32)
    assert search.n_as_near(cosines, [0, 1], [0, 2]) == search.K
    assert search.n_as_near(cosines, [0, 1], [0, 3]) == search.K - 1
    assert search.n_as_near(cosines, [0, 1], [0]) == search.K - 1
    assert search.n_as_near(cosines, [1, 2], [1, 1]) == search.K - 1
