"""What decides bars: ratios of one turn, figures of one round."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import rivals, tables, versus
from benchmarks.serving.bars import Bar, bars_table
from benchmarks.serving.bench import Bench
from benchmarks.serving.default_model import PROFILED, _profile_of
from benchmarks.serving.report import report
from benchmarks.serving.servers import Running
from benchmarks.serving.store import Store
from benchmarks.serving.turns import ratios, together, turn_s

SECONDS = 4.0


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Store(tmp_path / "results.json", "here"), SECONDS, 2, commit="abc")


def _put(bench: Bench, figures: dict[str, Any], **parameters: Any) -> None:
    bench.store.put(figures, **parameters, seconds=SECONDS)


def _rows(bench: Bench) -> dict[str, list[str]]:
    """The bars by what they are of: bound, median, span, whether met."""
    table = [line for line in bars_table(bench).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: row[1:] for row in cells}


def test_a_bar_is_met_by_the_median_of_its_ratios() -> None:
    assert Bar("faster", 0.95, [0.9, 0.95, 1.2]).row()[-1] == "yes"
    assert Bar("faster", 0.95, [0.9, 0.94, 1.2]).row()[-1] == "**no**"
    assert Bar("quicker", 1.15, [1.0, 1.15, 2.0], at_least=False).row()[-1] == "yes"
    assert Bar("quicker", 1.15, [1.16], at_least=False).row()[-1] == "**no**"
    assert Bar("quicker", 1.15, []).row()[-1] == "not measured"
    assert Bar("beside it", None, [0.5]).row() == ["beside it", "told", "0.500", "0.500 to 0.500", ""]


def test_a_ratio_is_of_one_turn() -> None:
    ours, theirs = [{"per_s": 30.0}, {"per_s": 20.0}], [{"per_s": 10.0}, {"per_s": 20.0}]
    assert ratios(ours, theirs, "per_s") == [3.0, 1.0]
    with pytest.raises(ValueError, match="shorter"):
        ratios(ours, theirs[:1], "per_s")


def test_windows_of_turns_are_half_as_long_but_no_shorter_than_four_seconds_of_longer_ones() -> None:
    assert [turn_s(seconds) for seconds in (20, 8, 6, 4, 1.5)] == [10, 4, 4, 4, 1.5]


def test_bars_beside_the_other_server_are_of_turns_of_all_rounds(bench: Bench) -> None:
    for number, per_s in enumerate(([4.0, 5.0], [6.0, 2.0])):
        found = {"rival": {}, "per_s": {"diptych int8 fast": per_s, "diptych fp32 exact": [1.0, 1.2]}}
        found |= {"p50_ms": {}, "waiting_cpu": 0.01}
        _put(bench, found, **versus.asked(number, "image", 32))
    rows = _rows(bench)
    faster = rows["diptych int8 fast: images/s at 32 clients over infinity, in turns"]
    assert faster == [">= 3", "4.500", "2.000 to 6.000", "yes"]
    assert rows["diptych fp32 exact: images/s at 32 clients over infinity, in turns"][-1] == "**no**"
    assert rows["int8: texts/s over infinity, clients: 32, in turns"][-1] == "not measured"


def test_the_graphs_own_limit_is_told_and_not_judged(bench: Bench) -> None:
    found = {"ratio": 0.96, "ratio_of_graph": 0.9, "saved_by_graph": 0.068}
    _put(bench, found, part="limit", round=0, batch=8)
    rows = _rows(bench)
    assert rows["bare fp32 session over the limit of matrix products, batch 8"][-1] == "yes"
    assert rows["the same over the limit of the graph's own products, batch 8"] == [
        *("told", "0.900", "0.900 to 0.900", "")
    ]
    assert "saves 6.8% of them" in bars_table(bench)


def test_labels_are_held_against_the_embed_of_the_same_round(bench: Bench) -> None:
    for number, (classify, embed) in enumerate(((10.4, 10.0), (20.8, 20.0))):
        latency = {name: {"p50_ms": embed} for name in ("embed raw", "embed form")}
        latency["classify 1000"] = {"p50_ms": classify}
        _put(bench, {"latency": latency}, part="classify", precision="int8", kind="in turns", round=number)
    row = _rows(bench)["int8: /classify, 1,000 known labels, over /embed (form body), p50 at one client"]
    assert row == ["<= 1.05", "1.040", "1.040 to 1.040", "yes"]


def test_the_default_model_counts_pictures_not_requests(bench: Bench) -> None:
    for clients, per_s in ((1, 5.0), (2, 10.0), (4, 8.0)):
        same = {"part": "http", "server": "diptych auto exact", "kind": "64 pictures"}
        _put(bench, {"per_s": per_s}, **same, clients=clients, round=0)
    _put(bench, {"per_s": 800.0}, part="default bare", round=0)
    row = _rows(bench)["default model: images/s at 64 a request over its bare session"]
    assert row[1] == "0.800"


def test_the_server_that_is_held_against_the_other_is_one_that_was_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path / "results.json", "here")
    assert versus.our_server(Bench(store, 4.0, 1), "int8") == "diptych int8 fast"
    assert versus.our_server(Bench(store, 4.0, 1, decodes=["exact"]), "int8") == "diptych int8 exact"


def test_turns_put_the_other_server_between_ours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def window(_: Bench, server: Running, *__: object) -> dict[str, Any]:
        asked.append(server.name)
        per_s = {"a": 20.0, "theirs": 10.0, "b": 40.0}[server.name] * len(asked)
        return {"per_s": per_s, "p50_ms": 1000 / per_s, "n": len(asked), "n_least": len(asked)}

    monkeypatch.setattr(versus, "window", window)
    monkeypatch.setattr(versus.processes, "cpu_seconds", lambda _: 0.0)
    a, theirs, b = (Running(name, 1, 1, None, 0.0) for name in ("a", "theirs", "b"))  # type: ignore[arg-type]
    kind: Any = None
    found = versus._turns(bench, [(a, kind), (b, kind)], (theirs, kind), 32)
    assert asked == ["a", "theirs", "b"] * versus.TURNS
    assert found["per_s"] == {"a": [20 / 20, 80 / 50], "b": [120 / 20, 240 / 50]}
    assert found["rival"]["n"] == 2 + 5
    assert found["waiting_cpu"] == 0.0


def test_the_star_of_a_p99_is_of_the_smallest_window(bench: Bench) -> None:
    windows = [{"n": n, "n_least": n, "p99_ms": 9.0, "p50_ms": 5.0, "per_s": 1.0} for n in (150, 60, 140)]
    assert together(windows)["n"] == 350
    same = {"part": "http", "server": "diptych fp32 exact", "kind": "image", "round": 0}
    _put(bench, together(windows), **same, clients=1)
    _put(bench, together([windows[0]]), **same, clients=32)
    row = next(line for line in tables.latency_table(bench).splitlines() if "fp32 exact" in line)
    assert row.count("\\*") == 1


def test_a_rival_that_fails_is_left_out_and_the_others_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = list[str]()

    def measure(_: Bench, name: str, number: int) -> None:
        if name == "infinity":
            raise RuntimeError("infinity ended with 1: Traceback\n  somewhere\nImportError: no torch\n")
        measured.append(name)

    monkeypatch.setattr(rivals, "measure_rival", measure)
    for number in range(2):
        rivals.measure_rivals(bench, number)
    assert measured == ["transformers"] * 2
    why = "infinity ended with 1: Traceback ... ImportError: no torch"
    assert bench.left_out == {"infinity": why}
    assert f"infinity is left out, since it failed: {why}." in report(bench)


def test_a_rival_that_failed_before_and_works_now_is_not_said_to_fail(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(bench, {"why": "no network"}, part="left out", server="infinity")
    monkeypatch.setattr(rivals, "measure_rival", lambda *_: None)
    rivals.measure_rivals(bench, 0)
    assert rivals.why_left_out(bench, "infinity") is None


def test_a_profile_that_was_not_measured_is_missing(bench: Bench, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = _profile_of(0, *PROFILED[0])
    assert not bench.has(**asked)
    _put(bench, {}, **asked)
    assert bench.has(**asked)
    assert not bench.has(**_profile_of(1, *PROFILED[0]))
