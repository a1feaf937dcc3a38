"""Where runs are found."""

import errno
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diptych_training.cli import main
from diptych_training.data.pairs.tools import inspect
from diptych_training.files import naming_full_disk, write_text
from diptych_training.paths import data_dir, expanded, model_repo, run_dir, runs_dir


@pytest.mark.parametrize(
    ("variable", "place"),
    [("DIPTYCH_RUNS_DIR", runs_dir), ("DIPTYCH_DATA", data_dir), ("DIPTYCH_MODEL_REPO", model_repo)],
)
def test_a_location_follows_its_environment_variable(
    variable: str, place: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path))
    monkeypatch.setenv(variable, "~/mine")
    assert place() == Path.home() / "mine"
    monkeypatch.setenv(variable, "")
    assert place() in {tmp_path / "runs", tmp_path / "pictograms", Path("model_repo")}


def test_a_run_is_named_by_folder_or_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "runs/mine"):
        (tmp_path / folder).mkdir(parents=True)
    runs = tmp_path / "runs"
    assert run_dir("mine", runs) == runs / "mine"
    assert run_dir("./mine", runs) == Path("mine")
    assert run_dir(str(tmp_path / "elsewhere"), runs) == tmp_path / "elsewhere"
    assert run_dir("~/mine", runs) == Path.home() / "mine"
    assert [run_dir(name, runs) for name in (".", "..")] == [Path(), Path("..")]


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("$DIPTYCH_CACHE/wordnet/nouns.txt", ".cache/diptych/wordnet/nouns.txt"),
        ("$DIPTYCH_CACHE", ".cache/diptych"),
        ("~/names.txt", "names.txt"),
    ],
)
def test_a_path_of_a_recipe_follows_home_and_cache(
    given: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DIPTYCH_CACHE", raising=False)
    assert expanded(given) == tmp_path / "home" / place
    if given.startswith("$"):
        monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))
        assert expanded(given) == tmp_path / place.replace(".cache/diptych", "cache")


@pytest.mark.parametrize("given", ["$DIPTYCH_CACHE-2/names.txt", "names/$DIPTYCH_CACHE", "./names.txt"])
def test_other_paths_of_a_recipe_are_taken_as_they_are(given: str) -> None:
    assert expanded(given) == Path(given)


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may grow beyond 10 kB."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_that_finds_no_space_is_named(tmp_path: Path) -> None:
    with small_disk(), pytest.raises(OSError, match="File too large") as caught:
        write_text(tmp_path / "text", "x" * 50_000)
    assert caught.value.filename == str(tmp_path / "text")
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_prints_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object) -> int:
        with naming_full_disk(tmp_path / "runs" / "mine"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(inspect, "run", run)
    assert main(["data", "inspect", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"diptych-train: {tmp_path}/runs/mine: No space left on device\n"
