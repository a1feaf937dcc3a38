"""`data inspect`, `data pack` and `data near-duplicates` from the command line."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from diptych_training.cli import main
from diptych_training.data.packed import read_dataset
from diptych_training.data.pairs.excluded import read_excluded
from support.pair_files import json_file, numbers_of, pair_files, picture, write_files, write_tars
from support.tiny_run import write_tiny_run

PARTS = ("validation", "train")


def run(*arguments: object) -> int:
    return main(["data", *(str(one) for one in arguments)])


def test_inspect_tells_what_is_there_and_what_is_wrong(tmp_path, capsys):
    files = {**pair_files(range(3)), "x.jpg": picture(3, "JPEG"), "x.txt": b"x", "mute.png": picture(1)}
    write_files(tmp_path / "f", files)
    assert run("inspect", tmp_path / "f", write_tars(tmp_path / "s", 2, 3), "--pairs", 100) == 0
    told = capsys.readouterr().out
    assert "f: 1 parts" in told
    assert "read all 5 entries: 4 can be used" in told
    assert "formats: PNG 3, JPEG 1" in told
    assert "median size 16 x 16 px" in told
    assert "1.0 texts a pair" in told
    assert "1 unusable: it has no text file next to it" in told
    assert "read all 6 entries: 6 can be used" in told


def test_pack_makes_a_data_set_that_the_reader_takes(tmp_path, capsys):
    rows = {"1.png": picture(1), "1.json": json_file(label="cat", keywords=["pet"], captions=["a cat"])}
    write_files(tmp_path / "f", rows | {"2.png": picture(2), "2.json": json_file(caption=["one", "two"])})
    write_files(tmp_path / "f", {"bad.png": b"?", "bad.txt": b"x"})
    out = tmp_path / "d"
    arguments = ["pack", "--validation", tmp_path / "f", "--out", out, "--size", 16, "--licence", "MIT"]
    assert run(*arguments, "--model-repo", tmp_path / "empty") == 0
    captured = capsys.readouterr()
    assert "pairs-validation: 2 images, 1 unusable" in captured.out
    assert f"warning: {out} has too few samples to prove an export on: 2 held-out images" in captured.err
    source = read_dataset(out).source("pairs-validation")
    assert (source.kind, source.split, source.licence) == ("pairs", "validation", "MIT")
    items = {item.id: item for item in source.items}
    assert (items["f:1.png"].label, items["f:1.png"].keywords, items["f:1.png"].captions) == (
        "cat",
        ("pet",),
        ("a cat",),
    )
    assert (items["f:2.png"].label, items["f:2.png"].captions) == ("one", ("two",))
    assert [f"f:{number}.png" for number in numbers_of(np.asarray(source.images))] == [
        i.id for i in source.items
    ]
    assert "| pairs-validation | validation | 2 | unknown | MIT |" in (out / "CARD.md").read_text()


def test_pack_prepares_images_as_the_model_does_that_a_recipe_starts_from(tmp_path):
    write_tiny_run(tmp_path / "runs" / "origin")  # takes images of 32 px
    write_files(tmp_path / "f", pair_files([1]))
    (tmp_path / "own.toml").write_text('name = "own"\nstart = "origin"\n[run]\nsteps = 1\n')
    recipe = ["--recipe", tmp_path / "own.toml", "--runs-dir", tmp_path / "runs", "--model-repo", tmp_path]
    assert run("pack", "--eval", tmp_path / "f", "--out", tmp_path / "d", *recipe) == 0
    assert read_dataset(tmp_path / "d").image_size == 32
    origin = ["--start", str(tmp_path / "runs" / "origin")]
    assert (
        run("pack", "--eval", tmp_path / "f", "--out", tmp_path / "e", "--recipe", "own-pairs", *origin) == 0
    )
    assert read_dataset(tmp_path / "e").image_size == 32


def test_pack_holds_pairs_out_of_training_by_their_names(tmp_path):
    write_files(tmp_path / "f", pair_files(range(40)))
    out = ["--out", tmp_path / "d", "--size", 16, "--hold-out", 0.25]
    assert run("pack", "--train", tmp_path / "f", *out) == 0
    dataset = read_dataset(tmp_path / "d")
    held_out, teacher_texts = (
        {item.id for item in dataset.source(f"pairs-{split}").items} for split in PARTS
    )
    assert held_out.isdisjoint(teacher_texts)
    assert len(held_out | teacher_texts) == 40
    assert 4 <= len(held_out) <= 16
    write_files(tmp_path / "f", pair_files(range(40, 50)))
    assert run("pack", "--train", tmp_path / "f", *out, "--seed", 1) == 0
    more = {item.id for item in read_dataset(tmp_path / "d").source("pairs-validation").items}
    assert held_out <= more


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to pack: name sources with --train, --validation or --eval"),
        (["--eval", "{f}", "--size", "100"], "images of 100 px: the side must be a multiple of 16"),
        (["--eval", "{bad}", "--size", "16"], "none of 1 entries can be used"),
        (
            ["--eval", "{f}", "--start", "pictograms"],
            "--start replaces the model that a recipe starts from: name the recipe with --recipe",
        ),
        (["--eval", "{f}", "--hold-out", "0.2"], "--hold-out takes validation from --train: name --train"),
        (["--train", "{f}", "--validation", "{f}", "--hold-out", "0.2"], "and no --validation"),
    ],
)
def test_pack_refuses_what_makes_no_data_set(tmp_path, capsys, arguments, message):
    places = {
        "f": write_files(tmp_path / "f", pair_files([1])),
        "bad": write_files(tmp_path / "bad", {"a.png": b"?", "a.txt": b"x"}),
    }
    given = [one.format(**places) for one in arguments]
    assert run("pack", *given, "--out", tmp_path / "d") == 1
    assert message in capsys.readouterr().err


def drawing(seed: int, side: int = 128) -> Image.Image:
    """Coloured blobs, different for every seed."""
    blobs = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((side, side), Image.Resampling.BICUBIC)


def file_of(image: Image.Image, image_format: str = "PNG", **options: int) -> bytes:
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return out.getvalue()


@pytest.fixture
def near_sources(tmp_path: Path) -> tuple[Path, Path]:
    """Training drawings, of which some are evaluation drawings in other files; and those."""
    train = {
        "same": file_of(drawing(1)),
        "compressed": file_of(drawing(2), "JPEG", quality=40),
        "smaller": file_of(drawing(3, 50)),
        "brighter": file_of(ImageEnhance.Brightness(drawing(4)).enhance(0.8)),
        "mirrored": file_of(drawing(5).transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
        **{f"other-{number}": file_of(drawing(100 + number)) for number in range(20)},
    }
    texts = {f"{name}.txt": f"train {name}".encode() for name in train}
    write_files(tmp_path / "train", {**{f"{name}.png": image for name, image in train.items()}, **texts})
    evaluation = {f"{n}.png": file_of(drawing(n)) for n in range(1, 6)} | {
        f"{n}.txt": b"eval" for n in range(1, 6)
    }
    return tmp_path / "train", write_files(tmp_path / "eval", evaluation)


def test_near_duplicates_are_found_in_other_files_and_listed_for_exclusion(tmp_path, near_sources, capsys):
    train, evaluation = near_sources
    out = tmp_path / "near.tsv"
    assert run("near-duplicates", train, "--against", evaluation, "--out", out) == 0
    assert "4 of 25 training images are near duplicates of one of 5 " in capsys.readouterr().out
    assert read_excluded([str(out)]) == {
        f"train:{name}.png" for name in ("same", "compressed", "smaller", "brighter")
    }
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert rows[0] == ["name", "cosine", "evaluation_image", "text", "evaluation_text"]
    assert ["train:same.png", "1.0000", "eval:1.png", "train same", "eval"] in rows
