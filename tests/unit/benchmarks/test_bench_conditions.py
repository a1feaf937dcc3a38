"""Under which conditions a figure counts: commit, sources, what a run left behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.serving import __main__ as command
from benchmarks.serving import machine, model
from benchmarks.serving.places import REPOSITORY
from benchmarks.serving.progress import Cost, Part, progress
from benchmarks.serving.sources import sources_hash
from benchmarks.serving.store import Store


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One commit with code, a document and a figure."""
    for name in ("code.py", "server/README.md", "server/figures/bench.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first")
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    for arguments in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "first")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(machine, "REPOSITORY", tmp_path)
    return tmp_path


def test_a_run_that_writes_its_table_is_still_of_its_commit(repository: Path) -> None:
    before = machine.commit()
    (repository / "server/README.md").write_text("second")
    (repository / "server/figures/bench.png").write_text("second")
    assert machine.commit() == before
    assert "+" not in before


def test_two_changes_of_one_commit_have_two_names(repository: Path) -> None:
    names = [machine.commit()]
    for text in ("second", "third"):
        (repository / "code.py").write_text(text)
        names.append(machine.commit())
    assert len(set(names)) == 3
    assert names[1].startswith(f"{names[0]}+")


def test_figures_of_other_conditions_stay_in_the_file_and_are_not_seen(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    Store(file, "then").put({"per_s": 1.0}, part="http")
    now = Store(file, "now")
    assert now.is_empty
    assert now.get(part="http") is None
    now.put({"per_s": 2.0}, part="http")
    assert Store(file, "then").get(part="http") == {"per_s": 1.0}
    assert [figures for _, figures in Store(file, "now").all()] == [{"per_s": 2.0}]


def test_a_fresh_run_forgets_its_own_conditions_alone(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    for conditions in ("then", "now"):
        Store(file, conditions).put({"per_s": 1.0}, part="http")
    fresh = Store(file, "now", fresh=True)
    assert fresh.is_empty
    fresh.put({}, part="limit")
    assert not Store(file, "then").is_empty


def test_results_that_were_kept_as_a_dictionary_are_read(tmp_path: Path) -> None:
    entry = {"parameters": {"part": "http"}, "figures": {}, "measured_at": "2026-01-02", "conditions": "then"}
    (tmp_path / "results.json").write_text(json.dumps({"any key": entry}))
    assert Store(tmp_path / "results.json", "then").get(part="http") == {}


def test_nothing_is_written_where_nothing_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    readme = tmp_path / "README.md"
    readme.write_text("<!-- bench:begin -->\nkept\n<!-- bench:end -->")
    monkeypatch.setattr("sys.argv", ["serving", "--only", "report", "--write", str(readme)])
    with pytest.raises(SystemExit, match="nothing was measured"):
        command.main()
    assert "kept" in readme.read_text()


def test_sources_are_told_apart_by_name_and_content(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "one.py").write_text("1")
    found = {sources_hash([folder])}
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "one.pyc").write_text("compiled")
    assert found == {sources_hash([folder])}
    (folder / "one.py").write_text("2")
    found.add(sources_hash([folder]))
    (folder / "one.py").rename(folder / "two.py")
    found |= {sources_hash([folder]), sources_hash([folder], "torch 2")}
    assert len(found) == 4


def test_a_bundle_of_other_sources_is_imported_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    imported = list[str]()

    def run(command: list[str], **_: object) -> None:
        assert not (model.model_repo() / "vit-s-32").exists()
        imported.append(command[command.index("--name") + 1])
        (model.model_repo() / "vit-s-32" / "1").mkdir(parents=True)

    monkeypatch.setattr(model.subprocess, "run", run)
    monkeypatch.setattr(model, "checkpoint", lambda name: tmp_path / name)
    for sources in ("one", "one", "two"):
        monkeypatch.setattr(model, "bundle_sources", lambda _, sources=sources: sources)
        model.bundle("vit-s-32")
    assert imported == ["vit-s-32"] * 2


def test_what_is_left_is_told_by_round_with_about_its_minutes() -> None:
    parts = {
        "limit": Part(lambda *_: None, each=Cost(40, 10)),
        "http": Part(lambda *_: None, each=Cost(100, 20), once=Cost(60, 0)),
    }
    steps = [(0, "http"), (1, "limit"), (1, "http")]
    line = progress(steps, parts, 8.0, 2)
    assert line.startswith(
        "round 1 of 2: http; then round 2: limit, http; about 12 min left"
    )  # 320 + 120 + 260 s
    assert "then the report" in progress(steps[2:], parts, 8.0, 2)


def test_the_whole_run_is_an_hour_and_a_half() -> None:
    seconds = sum(part.seconds(n, command.SECONDS) for part in command.PARTS.values() for n in range(2))
    assert 80 * 60 < seconds < 100 * 60


HEEDING = """
import time
from benchmarks.serving.__main__ import heed_signals
heed_signals()
try:
    print("at work", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    print("servers stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_with_its_servers_also_where_the_shell_had_it_ignored(
    number: signal.Signals,
) -> None:
    ignoring = ["sh", "-c", 'trap \'\' INT; exec "$0" -c "$1"', sys.executable, HEEDING]
    child = subprocess.Popen(ignoring, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY / "tests")
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "at work\n"
        child.send_signal(number)
        assert child.stdout.read() == "servers stopped\n"
