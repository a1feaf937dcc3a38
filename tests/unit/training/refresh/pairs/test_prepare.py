"""A person's pairs become a packed data set with a held-out part, a report and a contact sheet."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from diptych.bundle.image.preprocess import ImageLimits, load_pixels
from diptych_training.data.packed import read_dataset
from diptych_training.errors import DataError
from diptych_training.refresh.pairs import prepare
from diptych_training.refresh.pairs.findings import REPORT_FILE, read_report
from diptych_training.refresh.pairs.own import OWN, SHEET_FILE
from diptych_training.refresh.pairs.prepare import PairsOptions
from support.embedded_captions import in_jpeg, xmp_of
from support.own_pairs import captioned, familiar, tiny_source_model, write_captioned, write_shipped
from support.pair_files import write_files, write_table
from support.pictures import noise
from support.tiny_run import tiny_image_spec

SPLITS = ("train", "validation")


def prepared(tmp_path, *sources, options=None, shipped=None, model=None):
    return prepare.prepare_pairs(
        [str(source) for source in sources],
        model or tiny_source_model(),
        tmp_path / "refresh",
        options or PairsOptions(),
        shipped,
    )


def own_items(tmp_path):
    """Items by source: those of each fold, or the held-out ones and the others."""
    dataset = read_dataset(tmp_path / "refresh" / OWN)
    return {source.name: source.items for split in SPLITS for source in dataset.sources(split)}


def brighter(payload):
    """Nearly the same picture in another file."""
    out = io.BytesIO()
    ImageEnhance.Brightness(Image.open(io.BytesIO(payload))).enhance(0.9).save(out, "PNG")
    return out.getvalue()


def test_pairs_are_packed_as_the_model_sees_them_and_a_part_is_held_out(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "MIN_OWN_PAIRS", 40)
    folder = write_captioned(tmp_path / "photos", familiar(40))

    report = prepared(tmp_path, folder)

    assert (report.n_found, report.n_usable, report.n_captions) == (40, 40, 24)
    assert report.n_held_out == 40 - report.n_train
    assert 2 <= report.n_held_out <= 14
    items = own_items(tmp_path)
    assert {name: len(some) for name, some in items.items()} == {
        "pairs-train": report.n_train, "pairs-validation": report.n_held_out,
    }  # fmt: skip
    assert {item.id for part in items.values() for item in part} == {f"photos:{n:05}.png" for n in range(40)}
    dataset = read_dataset(tmp_path / "refresh" / OWN)
    source = dataset.sources("train")[0]
    number = int(source.items[0].id.partition(":")[2].partition(".")[0])
    assert source.items[0].label == familiar(40)[number]
    expected = load_pixels(noise(number), tiny_image_spec(), ImageLimits())
    np.testing.assert_array_equal(source.images[0], expected)
    assert (tmp_path / "refresh" / SHEET_FILE).stat().st_size <= 200_000
    assert read_report(tmp_path / "refresh") == report


def test_the_report_counts_where_captions_come_from_and_hostile_ones_are_named(tmp_path):
    files = captioned(familiar(25)) | {
        f"x{n}.jpg": in_jpeg(xmp=xmp_of(description={"x-default": f"a cat {n}"}), colour=(n, 9 * n, 0))
        for n in range(3)
    }
    files["bomb.jpg"] = in_jpeg(xmp=b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><x>&a;</x>")

    report = prepared(tmp_path, write_files(tmp_path / "photos", files))

    assert report.origins == {"text files": 25, "XMP": 3}
    assert "captions: 25 from text files, 3 from XMP" in report.text()
    (finding,) = report.of("unusable")
    assert finding.examples == ("photos:bomb.jpg",)
    assert "declares a document type" in finding.what


def test_each_of_few_pairs_is_in_one_of_five_folds_unless_none_is_to_be_held_out(tmp_path):
    folder = write_captioned(tmp_path / "photos", familiar(40))

    report = prepared(tmp_path, folder)

    assert (report.n_train, report.n_held_out, report.n_folds) == (40, 0, 5)
    assert "40 to train on, each held out in one of 5 folds" in " ".join(report.text().split())
    assert {name: len(some) for name, some in own_items(tmp_path).items()} == {
        f"pairs-fold-{fold}": 8 for fold in range(1, 6)
    }
    all_learned = prepared(tmp_path, folder, options=PairsOptions(hold_out=0))
    assert (all_learned.n_train, all_learned.n_folds, *own_items(tmp_path)) == (40, 0, "pairs-train")


def test_the_same_inputs_are_not_read_again(tmp_path, monkeypatch):
    folder = write_captioned(tmp_path / "photos", familiar(30))
    shipped = write_shipped(tmp_path / "judged", {"star": noise(1000)})
    report = prepared(tmp_path, folder, shipped=shipped)
    monkeypatch.setattr(prepare, "gather", lambda *args, **options: pytest.fail("pictures were read again"))

    assert prepared(tmp_path, folder, shipped=shipped) == report


@pytest.mark.parametrize("what", ["picture", "caption", "new", "options", "model", "judged", "table"])
def test_other_inputs_are_looked_at_anew(tmp_path, what):
    folder = write_captioned(tmp_path / "photos", familiar(30))
    table = write_table(
        tmp_path / "photos.csv",
        [["image", "caption"], *([f"photos/{n:05}.png", familiar(30)[n]] for n in range(30))],
    )
    source = table if what == "table" else folder
    before = prepared(tmp_path, source)
    options, model, shipped = PairsOptions(), tiny_source_model(), None
    if what in ("picture", "table"):
        (folder / "00003.png").write_bytes(noise(500, size=(40, 40)))
    elif what == "caption":
        (folder / "00003.txt").write_text("a cat on the grass")
    elif what == "new":
        write_files(folder, captioned(["a dog on the grass"], start=600))
    elif what == "options":
        options = replace(options, hold_out=0.5)
    elif what == "model":
        model = tiny_source_model(tiny_image_spec().model_copy(update={"fill_color": (0, 0, 0)}))
    else:
        shipped = write_shipped(tmp_path / "judged", {"star": noise(1000)})

    after = prepared(tmp_path, source, options=options, model=model, shipped=shipped)

    assert after.inputs != before.inputs
    assert prepared(tmp_path, source, options=options, model=model, shipped=shipped) == after


@pytest.mark.parametrize("at", ["write_contact_sheet", "write_own", "write_report"])
def test_an_interrupted_preparation_starts_again(tmp_path, monkeypatch, at):
    first, second = (write_captioned(tmp_path / name, familiar(n)) for name, n in (("one", 30), ("two", 25)))
    prepared(tmp_path, first)

    def stop(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prepare, at, stop)
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path, second)
    report = prepared(tmp_path, second)

    items = own_items(tmp_path)
    assert report.n_usable == 25
    assert {item.id.partition(":")[0] for part in items.values() for item in part} == {"two"}
    fresh = prepare.prepare_pairs([str(second)], tiny_source_model(), tmp_path / "fresh", PairsOptions())
    assert fresh == report
    for split in SPLITS:
        one, other = (read_dataset(tmp_path / name / OWN).digest(split) for name in ("refresh", "fresh"))
        assert one == other


def test_pictures_near_those_that_the_model_is_judged_on_are_left_out(tmp_path):
    folder = write_captioned(tmp_path / "photos", familiar(30))
    shipped = write_shipped(tmp_path / "judged", {"a star": brighter(noise(7)), "a moon": noise(900)})

    report = prepared(tmp_path, folder, shipped=shipped)

    (finding,) = report.of("near_judged")
    assert (report.n_found, report.n_usable, finding.n) == (30, 29, 1)
    assert finding.examples == ('photos:00007.png like "a star"',)
    ids = {item.id for part in own_items(tmp_path).values() for item in part}
    assert "photos:00007.png" not in ids


def test_near_duplicates_are_never_on_both_sides(tmp_path):
    files = captioned(familiar(30))
    for number in range(30):
        files |= {f"{number:05}-copy.png": brighter(noise(number)), f"{number:05}-copy.txt": b"a cat"}
    write_files(tmp_path / "photos", files)

    report = prepared(tmp_path, tmp_path / "photos")

    (finding,) = report.of("near_own")
    assert finding.n == 60
    assert "of 30 such groups" in finding.what
    numbers = [item.id.partition(":")[2][:5] for part in own_items(tmp_path).values() for item in part]
    assert numbers == [name for pair in zip(numbers[::2], numbers[::2], strict=True) for name in pair]
    assert report.n_folds == 5


def test_one_usable_pair_is_counted_in_the_singular(tmp_path):
    write_files(tmp_path / "photos", captioned(familiar(1)))

    with pytest.raises(DataError, match="photos: 1 usable pair, at least 20 are needed; 1 found"):
        prepared(tmp_path, tmp_path / "photos")


def test_too_few_usable_pairs_are_an_error_that_says_why_and_what_to_do(tmp_path):
    files = captioned(familiar(18)) | {"lonely.png": noise(50), "torn.png": noise(51)[:100], "torn.txt": b"a"}
    write_files(tmp_path / "photos", files)

    with pytest.raises(DataError) as caught:
        prepared(tmp_path, tmp_path / "photos")

    message = str(caught.value)
    assert "photos: 18 usable pairs, at least 20 are needed; 20 found: " in message
    assert "1 without a caption: photos:lonely.png" in message
    assert "1 unusable (" in message
    assert "Put a text file of the same name next to each" in message
    assert message.endswith("Add pictures with captions until 20 are usable.")
    assert not (tmp_path / "refresh" / REPORT_FILE).exists()


def test_a_renamed_folder_has_the_same_pairs_drawn_and_held_out(tmp_path):
    folder = write_captioned(tmp_path / "photos", familiar(60))
    options = PairsOptions(limit=45)
    prepared(tmp_path, folder, options=options)
    before = own_items(tmp_path)
    prepared(tmp_path, folder.rename(tmp_path / "pictures [2024] {a,b}"), options=options)

    after = own_items(tmp_path)

    for split, items in before.items():
        names = {item.id.removeprefix("photos:") for item in items}
        assert names == {item.id.removeprefix("pictures [2024] {a,b}:") for item in after[split]}
