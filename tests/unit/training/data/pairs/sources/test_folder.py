"""A folder of images: where each has its caption from, and in which order these are looked for."""

import pytest

from diptych_training.data.pairs.pair import Pair, Unusable
from diptych_training.data.pairs.sources.find import SourceReader
from support.embedded_captions import in_jpeg, iptc_of, xmp_of
from support.pair_files import json_file, picture, write_files

XMP = xmp_of(description={"x-default": "from XMP"})


def found(tmp_path, files, *, with_images=True):
    """Text and origin, or the reason why there is none, by name."""
    (tmp_path / "photos").mkdir()
    entries = [
        entry
        for shard in SourceReader().shards([str(write_files(tmp_path / "photos", files))])
        for entry in shard.entries(with_images=with_images)
    ]
    return {
        entry.name.partition(":")[2]: (
            entry.reason if isinstance(entry, Unusable) else f"{entry.texts.first} ({entry.texts.origin})"
        )
        for entry in entries
    }


@pytest.mark.parametrize("with_images", [True, False])
def test_a_file_comes_before_a_caption_inside_and_xmp_before_iptc(tmp_path, with_images):
    files = {f"{name}.jpg": in_jpeg(xmp=XMP, iptc=iptc_of("from IPTC", [])) for name in "abc"}
    files |= {"a.txt": b"from text", "b.json": json_file(caption="from JSON")}
    files |= {"d.jpg": in_jpeg(iptc=iptc_of("from IPTC", [])), "e.jpg": in_jpeg()}
    assert found(tmp_path, files, with_images=with_images) == {
        "a.jpg": "from text (text files)",
        "b.jpg": "from JSON (JSON files)",
        "c.jpg": "from XMP (XMP)",
        "d.jpg": "from IPTC (IPTC)",
        "e.jpg": "it has no text file next to it",
    }


def test_names_of_folders_are_captions_of_images_that_have_no_other(tmp_path):
    files = {
        "grey_heron/1.png": picture(1), "birds/grey heron/2.png": picture(2), "stork/3.jpg": in_jpeg(xmp=XMP),
        "2024-05/4.png": picture(4), "5.png": picture(5),
    }  # fmt: skip
    assert found(tmp_path, files) == {
        "grey_heron/1.png": "grey heron (folder names)",
        "birds/grey heron/2.png": "grey heron (folder names)",
        "stork/3.jpg": "from XMP (XMP)",
        "2024-05/4.png": "it has no text file next to it",
        "5.png": "it has no text file next to it",
    }


def test_the_name_of_one_folder_is_no_caption(tmp_path):
    reasons = found(tmp_path, {"heron/1.png": picture(1), "heron/2.png": picture(2)})
    assert set(reasons.values()) == {"it has no text file next to it"}


def test_next_to_text_files_names_of_folders_are_no_captions_and_the_reason_names_the_first(tmp_path):
    files = {"heron/1.png": picture(1), "stork/2.png": picture(2), "stork/2.txt": b"a stork"}
    assert found(tmp_path, files)["heron/1.png"] == (
        "it has no text file next to it, and the name of its folder is no caption, "
        "since there is the text file stork/2.txt"
    )


def test_names_of_folders_come_before_the_caption_that_a_camera_writes_into_all_pictures(tmp_path):
    camera = in_jpeg(xmp=xmp_of(description={"x-default": "OLYMPUS DIGITAL CAMERA"}))
    assert found(
        tmp_path, {"grey_heron/1.jpg": camera, "stork/2.jpg": camera, "stork/3.png": picture(3)}
    ) == {
        "grey_heron/1.jpg": "grey heron (folder names)",
        "stork/2.jpg": "stork (folder names)",
        "stork/3.png": "stork (folder names)",
    }


def test_captions_inside_that_differ_or_are_of_one_folder_come_before_its_name(tmp_path):
    herons = {f"heron/{n}.jpg": in_jpeg(xmp=XMP) for n in range(3)}
    other = in_jpeg(xmp=xmp_of(description={"x-default": "a stork in flight"}))
    assert set(found(tmp_path, {**herons, "stork/1.jpg": other}).values()) == {
        "from XMP (XMP)", "a stork in flight (XMP)",
    }  # fmt: skip


def test_an_image_whose_metadata_is_hostile_is_named_and_the_next_is_read(tmp_path):
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
    entries = found(
        tmp_path, {"a.jpg": in_jpeg(xmp=bomb), "b.jpg": in_jpeg(xmp=bomb)[:200], "c.jpg": in_jpeg(xmp=XMP)}
    )
    assert entries["a.jpg"] == "its XMP declares a document type (x), which XMP must not"
    assert entries["b.jpg"].startswith("JPEG image")
    assert entries["c.jpg"] == "from XMP (XMP)"


def test_images_are_left_out_where_only_texts_are_wanted(tmp_path):
    (tmp_path / "photos").mkdir()
    folder = write_files(tmp_path / "photos", {"a.jpg": in_jpeg(xmp=XMP)})
    (shard,) = SourceReader().shards([str(folder)])
    (entry,) = shard.entries(with_images=False)
    assert isinstance(entry, Pair)
    assert entry.image == b""
