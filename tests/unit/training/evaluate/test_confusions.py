"""Confusions: their selection, the nearest training images, and the picture."""

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageChops

from diptych_training.checkpoint import load_run
from diptych_training.data.packed import Kind, PackedDataset, PackedItem, PackedSource, read_dataset
from diptych_training.evaluate import confusions
from diptych_training.evaluate.confusion_report import (
    LEGEND,
    TrainingImages,
    draw_confusions,
)
from diptych_training.evaluate.confusions import (
    PER_KIND,
    Confusion,
    EmbeddedSource,
    select_varied,
    widest_margins,
)
from diptych_training.evaluate.embedding import embed_images
from diptych_training.evaluate.evaluated_model import evaluated_run
from diptych_training.reports.pictures import MAX_BYTES, WIDTH, Cell, Line, font, shortened
from support.tiny_run import write_tiny_dataset, write_tiny_run

CLASSES = ["home", "house", "star", "heart"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackedDataset:
    return write_tiny_dataset(tmp_path_factory.mktemp("data"), n_icons=12)


def embedded_source(
    dataset: PackedDataset, cosines: list[list[float]], rights: list[set[str]]
) -> EmbeddedSource:
    """Images with these cosines to the four classes."""
    source = dataset.source("new-set")
    items = tuple(PackedItem(id=f"{n}", label=sorted(right)[0]) for n, right in enumerate(rights))
    shown = replace(source, images=source.images[: len(items)], items=items)
    rows = np.array(cosines, dtype=np.float32)
    return EmbeddedSource(
        shown, rows, CLASSES, np.eye(4, dtype=np.float32), [frozenset(right) for right in rights]
    )


def test_the_widest_margin_over_the_right_label_comes_first(dataset: PackedDataset) -> None:
    cosines = [[0.1, 0.5, 0.2, 0.0], [0.1, 0.0, 0.9, 0.2], [0.9, 0.1, 0.2, 0.3], [0.4, 0.0, 0.0, 0.5]]
    first, second = widest_margins(
        embedded_source(dataset, cosines, [{"home"}, {"home"}, {"home"}, {"home"}]), 10.0
    )
    assert [(one.index, one.right, one.given) for one in (first, second)] == [
        (1, "home", "star"),
        (0, "home", "house"),
    ]
    assert first.margin == pytest.approx(0.8)
    logits = 10.0 * np.array(cosines[1])
    assert first.probability == pytest.approx((np.exp(logits) / np.exp(logits).sum())[2], rel=1e-5)


def test_any_label_of_the_same_drawing_is_right_and_the_best_one_is_named(dataset: PackedDataset) -> None:
    both = {"home", "house"}
    cosines = [[0.1, 0.6, 0.5, 0.0], [0.1, 0.3, 0.4, 0.0]]
    (only,) = widest_margins(embedded_source(dataset, cosines, [both, both]), 1.0)
    assert (only.index, only.right, only.given) == (1, "house", "star")


def test_ties_and_images_without_a_class_are_no_confusions(dataset: PackedDataset) -> None:
    cosines = [[0.5, 0.5, 0.0, 0.0], [0.9, 0.0, 0.0, 0.0]]
    assert widest_margins(embedded_source(dataset, cosines, [{"home"}, {"moon"}]), 1.0) == []


def test_a_large_source_is_processed_in_chunks(
    dataset: PackedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cosines = [[0.1, 0.5, 0.2, 0.0], [0.1, 0.0, 0.2, 0.2], [0.0, 0.1, 0.2, 0.3]]
    given = embedded_source(dataset, cosines, [{"home"}, {"moon"}, {"house"}])
    at_once = [(one.index, one.given, one.margin) for one in widest_margins(given, 1.0)]
    monkeypatch.setattr(confusions, "CHUNK", 2)
    assert [(one.index, one.given, one.margin) for one in widest_margins(given, 1.0)] == at_once
    assert [index for index, *_ in at_once] == [0, 2]


def test_two_confusions_of_a_source_have_different_labels(dataset: PackedDataset) -> None:
    cosines = [[0.0, 0.9, 0.0, 0.0], [0.0, 0.8, 0.0, 0.0], [0.0, 0.0, 0.0, 0.1]]
    found = widest_margins(embedded_source(dataset, cosines, [{"home"}, {"home"}, {"home"}]), 1.0)
    assert [one.given for one in found] == ["house", "heart"]


def confusion(
    dataset: PackedDataset, name: str, kind: Kind, margin: float, labels: str, nth: int = 0
) -> Confusion:
    source = dataset.source("new-set")
    entry = replace(source.entry, kind=kind)
    right, _, given = labels.partition(">")
    shown = PackedSource(name, entry, source.images, source.items)
    embedding = np.ones(4, dtype=np.float32)
    return Confusion(shown, 0, embedding, right, given, probability=0.5, margin=margin, rank=nth)


def test_sources_take_turns_and_no_pair_of_labels_is_shown_twice(
    dataset: PackedDataset,
) -> None:
    n = PER_KIND["emoji"]
    loud = [confusion(dataset, "loud", "emoji", 0.9, f"a>b{nth}", nth) for nth in range(2)]
    quiet = [confusion(dataset, f"style-{i}", "emoji", 0.1 * i / n, f"c{i}>d") for i in range(n - 1)]
    icons = [
        confusion(dataset, "set", "icons", 0.2, "a>b0"),
        confusion(dataset, "twin", "icons", 0.3, "a>b0"),
    ]
    chosen = select_varied([*loud, *quiet, *icons])
    names = [one.source.name for one in chosen["emoji"]]
    assert names == ["loud", *(f"style-{i}" for i in reversed(range(n - 1)))]
    assert [one.source.name for one in chosen["icons"]] == ["twin"]
    assert chosen == select_varied([*reversed(loud), *icons, *reversed(quiet)])


def test_the_nearest_training_image_is_the_most_similar_one_to_the_model(
    dataset: PackedDataset, tmp_path: Path
) -> None:
    model = evaluated_run(load_run(write_tiny_run(tmp_path / "run")), "tiny")
    train = dataset.source("train-set")
    shutil.copytree(dataset.path, tmp_path / "data")
    lines = (tmp_path / "data" / "train" / "train-set.jsonl").read_text()
    alike = re.sub(r'"thing \d+"', '"thing 3"', lines)
    (tmp_path / "data" / "train" / "train-set.jsonl").write_text(alike)
    embedding = embed_images(model.encoder, train.images[7:8], model.image_spec)[0]
    one = replace(confusion(dataset, "new-set", "icons", 0.1, "thing 1>thing 3"), embedding=embedding)
    nearest = TrainingImages(read_dataset(tmp_path / "data"), ["thing 3"]).nearest(one, model)
    assert nearest is not None
    assert np.array_equal(nearest, train.images[7])
    assert TrainingImages(dataset, ["moon"]).nearest(replace(one, given="moon"), model) is None


def cells(n: int, size: int = 64, label: str = "arrow left") -> list[Cell]:
    rng = np.random.default_rng(0)

    def noise() -> NDArray[np.uint8]:
        return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)

    lines = (Line(label, is_bold=True), Line("arrow right", tail=" 50%"), Line("a-set"))
    return [Cell((noise(), noise() if i % 2 else None), lines) for i in range(n)]


def test_the_picture_has_page_width_and_a_palette() -> None:
    image = Image.open(io.BytesIO(draw_confusions({"emoji": cells(3), "icons": cells(6)}, "a model")))
    assert (image.width, image.mode, image.format) == (WIDTH, "P", "PNG")
    assert image.height < 800


@pytest.mark.long
def test_a_picture_that_is_too_large_gets_fewer_colours_and_then_fewer_cells() -> None:
    few = draw_confusions({"icons": cells(5)}, "noise")
    many = draw_confusions({"icons": cells(25), "emoji": cells(10)}, "noise")
    assert max(len(few), len(many)) <= MAX_BYTES
    assert Image.open(io.BytesIO(many)).height < 1000  # 35 cells are taller


def test_images_are_enlarged_by_whole_pixels_if_possible() -> None:
    checks = (np.indices((46, 46)).sum(0) % 2).astype(np.uint8) * 255
    pixels = np.repeat(checks[..., None], 3, axis=2)
    drawn = Image.open(io.BytesIO(draw_confusions({"icons": [Cell((pixels,), ())]}, ""))).convert("RGB")
    expected = Image.fromarray(pixels).resize((92, 92), Image.Resampling.NEAREST)
    box = (8, 60 + 30 + 8, 8 + 92, 60 + 30 + 8 + 92)
    assert ImageChops.difference(drawn.crop(box), expected).getbbox() is None


def test_long_labels_are_cut_to_their_cell_and_keep_their_beginning() -> None:
    face = font(12)
    cut = shortened("person in suit levitating: medium-dark skin tone", face, 184)
    assert cut.startswith("person in suit")
    assert cut.endswith("…")
    assert face.getlength(cut) <= 184
    assert shortened("two\n lines", face, 184) == "two lines"
    assert shortened(LEGEND, face, WIDTH - 16) == LEGEND
