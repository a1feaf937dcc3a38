"""Stored evaluations, their means, tables and picture."""

from pathlib import Path

import pytest
from PIL import Image

from diptych_training.data.packed import Kind
from diptych_training.errors import EvaluationError
from diptych_training.evaluate.figure import draw_evaluation
from diptych_training.evaluate.results import Evaluation, Scores, SourceResult, read_evaluation
from diptych_training.evaluate.table import evaluation_tables
from diptych_training.reports.markdown import markdown_table


def scores(top1: float, n_images: int = 10) -> Scores:
    zero_shot, recalls = {1: top1, 5: 0.9}, {1: top1 / 2, 5: top1, 10: 1.0}
    return Scores(n_images=n_images, zero_shot=zero_shot, text_to_image=recalls, image_to_text=recalls)


def result(
    source: str, kind: Kind, top1: float, *, far: float | None = None, floor: float | None = 0.1
) -> SourceResult:
    return SourceResult(
        source=source,
        kind=kind,
        n_classes=12,
        pixel_floor=floor,
        all=scores(top1),
        far=None if far is None else scores(far, 4),
    )


@pytest.fixture
def evaluation() -> Evaluation:
    return Evaluation(
        model="tiny/1 (fp32)",
        runtime="torch",
        dataset="pictograms",
        split="eval",
        templates=("{}",),
        sources=(
            result("style-a", "emoji", 0.2, far=0.1),
            result("style-b", "emoji", 0.4),
            result("set-a", "icons", 0.5, far=0.3, floor=None),
        ),
    )


def test_means_count_each_source_once(evaluation: Evaluation) -> None:
    means = evaluation.means()

    assert means["emoji"].all.zero_shot[1] == pytest.approx(0.3)
    assert means["emoji"].all.n_images == 20
    assert means["emoji"].far is not None
    assert means["emoji"].far.zero_shot[1] == pytest.approx(0.1)


def test_a_mean_floor_needs_the_floor_of_every_source(evaluation: Evaluation) -> None:
    assert evaluation.means()["emoji"].pixel_floor == pytest.approx(0.1)
    assert evaluation.means()["icons"].pixel_floor is None


def test_evaluation_is_read_back_as_it_was_written(evaluation: Evaluation, tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    file.write_text(evaluation.model_dump_json())

    assert read_evaluation(file) == evaluation


def test_an_unknown_key_in_a_stored_evaluation_is_named(tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    file.write_text('{"model": "x", "surprise": 1}')

    with pytest.raises(EvaluationError, match=r"evaluation\.json: "):
        read_evaluation(file)


def test_a_missing_evaluation_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"gone\.json: cannot be read"):
        read_evaluation(tmp_path / "gone.json")


def test_tables_show_means_sources_and_near_duplicates(evaluation: Evaluation) -> None:
    text = evaluation_tables(evaluation)

    assert "**emoji styles**" in text
    assert "Without near duplicates:" in text
    assert all(result.source in text for result in evaluation.sources)
    without = text.split("Without near duplicates:")[1].split("##")[0]
    assert "style-b" not in without


def test_markdown_table_lines_have_one_width() -> None:
    lines = markdown_table(["name", "value"], [["a", "1"], ["longer name", "12,345"]]).splitlines()

    assert len({len(line) for line in lines}) == 1
    assert lines[1].endswith(":|")


def test_picture_of_an_evaluation_is_drawn(evaluation: Evaluation, tmp_path: Path) -> None:
    draw_evaluation(evaluation, tmp_path / "evaluation.png")

    with Image.open(tmp_path / "evaluation.png") as image:
        assert image.width > 1000
