"""What a version shows of its making: evaluation and pictures; that of something else is refused."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from diptych.bundle.repository import ModelRepository
from diptych.errors import CorruptBundle
from diptych_training.checkpoint import TrainedRun, load_run
from diptych_training.cli import main
from diptych_training.data.packed import PackedDataset, Split
from diptych_training.errors import ExportError
from diptych_training.evaluate.evaluated_model import run_title
from diptych_training.evaluate.proof_set.file import write_proof_set
from diptych_training.evaluate.results import Evaluation, Scores, SourceResult
from diptych_training.export.manifest import ExportOptions
from diptych_training.export.publish import export_run
from diptych_training.provenance import collect_provenance
from diptych_training.run_folder import RunFolder
from diptych_training.stages import ProgressReporter
from support.tiny_proof_set import tiny_proof_set
from support.tiny_run import (
    TINY_PAIR,
    write_tiny_dataset,
    write_tiny_run,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), n_icons=20)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, dataset: PackedDataset) -> TrainedRun:
    run = load_run(write_tiny_run(tmp_path_factory.mktemp("runs") / "tiny"))
    return replace(run, provenance=collect_provenance(dataset, run.config, {}))


def quiet(said: list[str] | None = None) -> ProgressReporter:
    return ProgressReporter(report=(said if said is not None else []).append, advance=lambda _: None)


def evaluation_of(run: TrainedRun, split: Split = "eval", **changes: object) -> Evaluation:
    recalls = {1: 0.5, 5: 0.5, 10: 0.5}
    scores = Scores(n_images=4, zero_shot={1: 0.5, 5: 0.5}, text_to_image=recalls, image_to_text=recalls)
    result = SourceResult(source="new-set", kind="icons", n_classes=2, pixel_floor=None, all=scores, far=None)
    model = run_title(run.folder, "best", run.step)
    evaluation = Evaluation(
        model=model,
        runtime="torch",
        dataset="tiny-drawings",
        split=split,
        templates=("{}",),
        sources=(result,),
    )
    return evaluation.model_copy(update=changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": "tiny (best, step 8)"},
            r"is of 'tiny \(best, step 8\)', the export is of 'tiny \(best, step 7\)'",
        ),
        ({"model": "tiny (last, step 7)"}, "is of 'tiny \\(last"),
        ({"model": "other (best, step 7)"}, "is of 'other"),
        ({"dataset": "photos"}, "is on data set 'photos'"),
    ],
)
def test_an_evaluation_of_something_else_is_refused_before_anything_is_written(
    run: TrainedRun, dataset: PackedDataset, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    statement = ExportOptions("drawings", evaluation=evaluation_of(run, **changes))

    with pytest.raises(ExportError, match=message):
        export_run(run, dataset, ModelRepository(tmp_path / "model_repo"), statement, quiet())

    assert not (tmp_path / "model_repo").exists()


def test_an_evaluation_goes_into_manifest_and_card_with_what_its_split_was_used_for(
    run: TrainedRun, dataset: PackedDataset, tmp_path: Path
) -> None:
    repository = ModelRepository(tmp_path / "model_repo")
    statement = ExportOptions(
        "few", ungated=True, optimise=False, evaluation=evaluation_of(run, "validation")
    )

    export_run(run, dataset, repository, statement, quiet())

    card = (repository.folder("few", 1) / "MODEL_CARD.md").read_text()
    assert "selected on, but not trained on" in card
    stated = repository.manifest("few", 1).metrics["validation"]
    assert isinstance(stated, dict)
    assert stated["icons_top1"] == 0.25  # what steered the run is still there
    assert stated["measured_on"] == "tiny (best, step 7)"


@pytest.fixture
def shown(tmp_path: Path) -> list[str]:
    """Folders and flags of an ungated export of a run with curves and confusions."""
    write_tiny_dataset(tmp_path / "data", n_icons=20)
    run_dir = write_tiny_run(tmp_path / "runs" / "tiny")
    run = load_run(run_dir)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "evaluation.json").write_text(evaluation_of(run).model_dump_json())
    Image.new("RGB", (3, 3)).save(pictures / "confusions.png")
    Image.new("RGB", (4, 4)).save(run_dir / "curves.png")
    return [
        "export", "--run", str(run_dir), "--name", "few", "--ungated", "--no-optimise",
        "--data", str(tmp_path / "data"), "--model-repo", str(tmp_path / "model_repo"),
        "--evaluation", str(pictures / "evaluation.json"),
    ]  # fmt: skip


def test_pictures_are_files_of_the_version_and_shown_by_its_card(shown: list[str], tmp_path: Path) -> None:
    assert main(shown) == 0

    repository = ModelRepository(tmp_path / "model_repo")
    manifest, folder = repository.verify("few", 1), repository.folder("few", 1)
    assert {"curves.png", "confusions.png"} <= manifest.files.keys()
    assert sizes(folder / "confusions.png", folder / "curves.png") == [(3, 3), (4, 4)]
    card = (folder / "MODEL_CARD.md").read_text()
    assert re.findall(r"!\[[^\]]+\]\(([^)]+)\)", card) == ["confusions.png", "curves.png"]
    assert "$" not in card
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.split("\n") if "|" in line]
    assert ["new-set", "eval, shown", "icons", "20", "nobody", "MIT"] in rows  # evaluated, so maybe drawn
    assert not [row for row in rows if row[0] == "new-style"]  # not evaluated
    (folder / "curves.png").write_bytes(b"another")
    with pytest.raises(CorruptBundle, match=r"few/1/curves\.png: "):
        repository.verify("few", 1)


def test_a_model_of_photographs_and_drawings_shows_its_failures(tmp_path: Path) -> None:
    write_tiny_dataset(tmp_path / "data", n_icons=20)
    run_dir = write_tiny_run(tmp_path / "runs" / "both", image=TINY_PAIR)
    write_proof_set(RunFolder(run_dir).proof_set_file, tiny_proof_set())
    flags = [
        "--ungated",
        "--no-optimise",
        "--precisions",
        "fp32",
        "--model-repo",
        str(tmp_path / "model_repo"),
    ]
    data = ["--data", str(tmp_path / "data")]
    assert main(["export", "--run", str(run_dir), "--name", "both", *flags, *data]) == 0

    repository = ModelRepository(tmp_path / "model_repo")
    assert "failures.png" in repository.verify("both", 1).files
    card = (repository.folder("both", 1) / "MODEL_CARD.md").read_text()
    assert "](failures.png)" in card
    assert "names on sexual health are counted and not shown" in card
    assert (
        "a two-part image tower (an EfficientNet-Lite for photographs, a ResNet for drawings) and a" in card
    )
    assert re.search(r"^- Drawings: \d+ of \d+ named right, among \d+ names$", card, re.MULTILINE)


def sizes(*pictures: Path) -> list[tuple[int, int]]:
    return [Image.open(io.BytesIO(picture.read_bytes())).size for picture in pictures]


def no_picture(home: Path) -> None:
    (home / "pictures" / "confusions.png").write_bytes(b"GIF89a")


def large_picture(home: Path) -> None:
    with (home / "runs" / "tiny" / "curves.png").open("ab") as file:
        file.write(bytes(2_000_000))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_picture, "confusions.png is not a PNG"),
        (large_picture, "curves.png has 2,000,0"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_is_written(
    shown: list[str],
    tmp_path: Path,
    spoil: Callable[[Path], None],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(tmp_path)

    assert main(shown) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model_repo").exists()
