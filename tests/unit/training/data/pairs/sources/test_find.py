"""Every kind of source gives the same pairs, and says what is wrong with the others."""

import os

import fsspec
import pytest

from diptych_training.data.packed import PackedDataset, PackedItem, SourceEntry, write_index, write_source
from diptych_training.data.pairs.pair import Texts, Unusable
from diptych_training.data.pairs.remote import retry
from diptych_training.errors import DataError
from support.pair_files import pair_files, picture, write_files
from support.pair_reading import captions, read, things
from support.special_files import add_special_files
from support.tars import tar_of
from support.tiny_run import write_tiny_dataset

pytestmark = pytest.mark.usefixtures("cache")


def in_memory(path: str, content: bytes) -> str:
    with fsspec.open(f"memory://{path}", "wb") as file:
        file.write(content)
    return f"memory://{path}"


def test_a_folder_pairs_images_with_text_files_of_their_name(tmp_path):
    files = {
        **pair_files([0, 1]),
        "deep/er/2.JPG": picture(2, "JPEG"),
        "deep/er/2.json": b'{"caption": "thing 2"}',
        "deep/er/2.txt": b"the json file says more",
        "lonely.png": picture(3),
        ".hidden/4.png": picture(4),
        "notes.md": b"",
    }
    entries = read(write_files(tmp_path / "f", files))
    assert captions(entries) == things(3)
    assert [entry.name for entry in entries] == [
        "f:00000.png", "f:00001.png", "f:deep/er/2.JPG", "f:lonely.png",
    ]  # fmt: skip
    assert entries[3] == Unusable("f:lonely.png", "it has no text file next to it")


def test_special_files_are_unusable_alone(tmp_path):
    folder = write_files(tmp_path / "f", pair_files([0]))
    names = add_special_files(folder)
    for name in names:
        (folder / name).with_suffix(".txt").write_text("words")
    (folder / "0.png").write_bytes(picture(1))
    os.mkfifo(folder / "0.txt")
    entries = read(folder)
    assert captions(entries) == things(1)
    assert [entry for entry in entries if isinstance(entry, Unusable)] == [
        Unusable("f:0.png", "its text file: is not a regular file"),
        *(Unusable(f"f:{name}", "is not a regular file") for name in names),
    ]
    os.mkfifo(tmp_path / "pairs.jsonl")
    with pytest.raises(DataError, match=r"pairs\.jsonl: is not a regular file"):
        read(tmp_path / "pairs.jsonl")


def test_a_packed_data_set_gives_its_training_items_with_label_and_keywords(tmp_path):
    pixels = write_tiny_dataset(tmp_path / "d", n_icons=3).source("train-set").images
    items = [PackedItem("x", "cat", ("pet",), ("a cat",)), *(PackedItem(f"{k}", "dog") for k in range(19))]
    items[4] = PackedItem("blank", " ")
    write_source(tmp_path / "e", "train", "s", pixels, items)
    entry = SourceEntry("train", "icons", 20, "MIT", "me", "0" * 64)
    write_index(PackedDataset(tmp_path / "e", "e", 32, {"s": entry}))
    found = read(tmp_path / "e")
    assert len(found) == 20
    assert found[0].name == "e:s:x"
    assert found[4] == Unusable("e:s:blank", "its label is empty")
    assert found[0].texts == Texts(("a cat",), "cat", ("pet",))


def test_sources_at_urls_are_read_like_local_ones():
    tar = in_memory("/there/s-0.tar", tar_of(pair_files([0, 1])))
    in_memory("/there/s-1.tar", tar_of(pair_files([2])))
    for number in range(3):
        in_memory(f"/there/i/{number}.png", picture(number))
    table = in_memory(
        "/there/t.csv", b"path,caption\ni/0.png,thing 0\ni/1.png,thing 1\nmemory://there/i/2.png,thing 2\n"
    )
    for name, content in pair_files([0, 1, 2]).items():
        in_memory(f"/folder/{name}", content)
    assert captions(read("memory://there/s-{0..1}.tar")) == things(3)
    assert captions(read("memory://there/s-*.tar")) == things(3)
    assert captions(read(tar, table)) == [*things(2), *things(3)]
    assert captions(read("memory://folder")) == things(3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", r"none\.csv: no such file"),
        ("none", r"none: no such file"),
        ("a.txt", r"a\.txt: not a \.tar"),
        ("photos.zip", r"photos\.zip: not a \.tar .* or a folder; unpack it into a folder first"),
        ("s-*.tar", r"s-\*\.tar matches no file"),
        ("memory://nowhere/s.tar", "memory://nowhere/s.tar: no such file"),
        ("nothing://at/all.tar", "nothing://at/all.tar: .*nothing"),
        ("empty", "empty: the folder holds no pairs"),
    ],
)
def test_a_source_that_is_none_is_an_error_that_names_it(tmp_path, monkeypatch, name, message):
    (tmp_path / "a.txt").touch()
    (tmp_path / "photos.zip").touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(retry, "RETRY_DELAYS_S", ())
    with pytest.raises(DataError, match=message):
        read(name if "://" in name else tmp_path / name)
