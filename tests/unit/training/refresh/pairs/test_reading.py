"""Findings about pairs that cannot be used, and about equal pictures."""

import io

from PIL import Image

from diptych_training.data.packed import read_dataset
from diptych_training.refresh.pairs.own import OWN
from diptych_training.refresh.pairs.prepare import PairsOptions, prepare_pairs
from support.own_pairs import captioned, familiar, tiny_source_model
from support.pair_files import json_file, write_files
from support.pictures import noise


def report_of(tmp_path, files):
    folder = write_files(tmp_path / "photos", files)
    return prepare_pairs([str(folder)], tiny_source_model(), tmp_path / "refresh", PairsOptions())


def items_of(tmp_path):
    dataset = read_dataset(tmp_path / "refresh" / OWN)
    sources = [source for split in ("train", "validation") for source in dataset.sources(split)]
    return {item.id: item for source in sources for item in source.items}


def as_bmp(payload):
    out = io.BytesIO()
    Image.open(io.BytesIO(payload)).save(out, "BMP")
    return out.getvalue()


def test_pictures_without_a_caption_are_counted_with_the_first_names(tmp_path):
    report = report_of(tmp_path, captioned(familiar(25)) | {f"x{n}.png": noise(50 + n) for n in range(5)})

    (finding,) = report.of("no_caption")
    assert (report.n_found, report.n_usable, finding.n) == (30, 25, 5)
    assert finding.line() == "5 without a caption: photos:x0.png, photos:x1.png, photos:x2.png and 2 more"
    assert finding.advice == "Put a text file of the same name next to each (heron.jpg, heron.txt)."


def test_the_advice_names_the_text_file_for_which_names_of_folders_do_not_count(tmp_path):
    files = captioned(familiar(25)) | {"heron/1.png": noise(50), "stork/1.png": noise(51)}

    (finding,) = report_of(tmp_path, files).of("no_caption")

    assert finding.n == 2
    assert finding.advice.endswith(
        "Names of folders are no captions next to text files: remove 00000.txt if they should be."
    )


def test_the_same_picture_with_the_same_caption_is_dropped_whatever_its_file(tmp_path):
    files = captioned(familiar(25))
    copy = {"copy.bmp": as_bmp(noise(3)), "copy.txt": familiar(25)[3].upper().encode()}

    report = report_of(tmp_path, files | copy)

    (finding,) = report.of("same_picture")
    assert (report.n_found, report.n_usable, finding.examples) == (26, 25, ("photos:copy.bmp",))
    assert report.of("merged_captions") == []
    assert items_of(tmp_path)["photos:00003.png"].captions == ()


def test_the_same_picture_with_another_caption_adds_that_to_the_first(tmp_path):
    files = captioned(familiar(25))
    files |= {"copy.png": noise(3), "copy.txt": b"a cat on the grass"}
    files |= {
        "again.png": noise(3),
        "again.json": json_file(label="a cat", keywords=["pet"], captions=["a dog"]),
    }

    report = report_of(tmp_path, files)

    assert report.n_usable == 25
    assert report.of("merged_captions")[0].n == 2
    item = items_of(tmp_path)["photos:00003.png"]
    assert item.label == familiar(25)[3]
    assert set(item.captions) == {"a cat", "a dog", "a cat on the grass"}
    assert item.keywords == ("pet",)
