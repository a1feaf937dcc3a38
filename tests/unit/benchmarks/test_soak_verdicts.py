from dataclasses import replace

import pytest

from benchmarks.soak.figure import N_POINTS, grouped
from benchmarks.soak.report import report
from benchmarks.soak.samples import About, Counts, End, Run, Sample, SampleFile, read_run
from benchmarks.soak.verdicts import verdicts

ABOUT = About(
    machine="a machine",
    versions="some",
    commit="abc",
    began_at="2026-01-01T00:00:00+00:00",
    command="make soak",
    planned_s=1200,
    clients=4,
    hostile_share=0.05,
)
COUNTS = Counts(good={"embed": {"200": 19}}, hostile={"file": {"422": 1}}, ms={"embed": {"100": 19}})


def test_a_run_in_which_all_went_well_clears_every_bar() -> None:
    assert [one.what for one in verdicts(_run()) if not one.met] == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"counts": replace(COUNTS, n_failed=1)}, "good requests that failed"),
        ({"counts": replace(COUNTS, good={"embed": {"500": 1}})}, "answers with 5xx"),
        ({"counts": replace(COUNTS, n_wrong=1)}, "hostile requests not answered as they must be"),
        ({"counts": replace(COUNTS, lowest_cosine=0.9999)}, "lowest cosine of a vector"),
        ({"ready": "503 the canary failed"}, "`/readyz` other than 200"),
    ],
)
def test_one_bad_second_of_twenty_minutes_misses_a_bar(changed: dict, what: str) -> None:
    run = _run()
    samples = list(run.samples)
    samples[700] = replace(samples[700], **changed)
    assert _missed(replace(run, samples=samples)) == [what]


def test_an_error_that_only_the_server_counted_misses_a_bar() -> None:
    run = _run()
    samples = [*run.samples[:-1], replace(run.samples[-1], n_server_errors=1)]
    assert _missed(replace(run, samples=samples)) == ["answers with 5xx"]


def test_memory_that_grows_by_four_percent_after_minute_five_misses_a_bar() -> None:
    what = "growth of resident memory from 5:00 to 20:00"
    assert _missed(_run(growth=0.04)) == [what]
    assert _missed(_run(growth=0.02)) == []


def test_what_memory_does_before_minute_five_is_no_growth() -> None:
    run = _run()
    samples = [replace(one, resident=100) if one.at_s < 290 else one for one in run.samples]
    assert _missed(replace(run, samples=samples)) == []


@pytest.mark.parametrize(
    ("end", "what"),
    [
        (End(lost=["s1 is missing"]), "acknowledged adds and deletes that are not so at the end"),
        (End(logged_errors=["Traceback"]), "errors in the server's log"),
        (End(ended_by="stopped by a signal"), "the run took its time"),
        (None, "the run came to its end"),
    ],
)
def test_the_end_counts_too(end: End | None, what: str) -> None:
    assert _missed(replace(_run(), end=end)) == [what]


def test_a_run_without_good_or_without_hostile_requests_proves_nothing() -> None:
    nobody = Counts(good={}, hostile={}, ms={})
    run = _run()
    missed = _missed(replace(run, samples=[replace(one, counts=nobody) for one in run.samples]))
    assert missed == ["good requests that failed", "hostile requests not answered as they must be"]


def test_the_report_tells_of_what_went_wrong_and_of_nothing_else() -> None:
    run = _run()
    assert "What went wrong" not in report(run)
    told = replace(run.samples[9], counts=replace(COUNTS, n_failed=1, told=["failed: embed: 500"]))
    assert "failed: embed: 500" in report(replace(run, samples=[*run.samples[:9], told, *run.samples[10:]]))


def test_a_run_comes_back_from_its_file_and_without_its_last_line_when_that_was_cut(tmp_path) -> None:
    run = _run()
    file = tmp_path / "samples.jsonl"
    kept = SampleFile(file, run.about)
    for sample in run.samples:
        kept.add(sample)
    kept.close(End())
    assert read_run(file) == run
    file.write_text(file.read_text()[:-5])
    assert read_run(file) == replace(run, end=None)


def test_the_figure_has_a_bounded_number_of_points() -> None:
    groups = grouped(_run().samples)
    assert len(groups) <= N_POINTS
    assert sum(map(len, groups)) == 1200


def _run(growth: float = 0.0) -> Run:
    samples = [
        Sample(
            at_s=float(second),
            seconds=1.0,
            resident=int(1e9 * (1 + growth * max(0, second - 300) / 900)),
            server_cpu_s=1.5,
            client_cpu_s=0.2,
            queue_items=0.0,
            ready="",
            ready_ms=2.0,
            n_server_errors=0.0,
            data_bytes=1000,
            counts=COUNTS,
        )
        for second in range(1, 1201)
    ]
    return Run(ABOUT, samples, End())


def _missed(run: Run) -> list[str]:
    return [one.what.split(", ")[0].split(" to the one")[0] for one in verdicts(run) if not one.met]
