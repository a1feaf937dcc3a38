"""Every kind of source gives the same pairs, and says what is wrong with the others."""

import pickle
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych.bundle.image import ImageLimits
from diptych_training.data.packed import PackedDataset, PackedItem, SourceEntry, write_index, write_source
from diptych_training.data.pairs import patience
from diptych_training.data.pairs.pair import Entry, Pair, Texts, Unusable
from diptych_training.data.pairs.sources import SourceReader
from diptych_training.data.pairs.table import ROWS, Columns
from diptych_training.data.pairs.urls import expand, find
from diptych_training.errors import DataError
from support.pair_files import pair_files, picture, write_files, write_image_table, write_table, write_tars
from support.tars import tar_of
from support.tiny_run import write_tiny_dataset


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIPTYCH_CACHE", str(tmp_path / "cache"))


def read(*patterns: object, reader: SourceReader | None = None) -> list[Entry]:
    shards = (reader or SourceReader()).shards([str(pattern) for pattern in patterns])
    return [entry for shard in shards for entry in shard.entries()]


def captions(entries: list[Entry]) -> list[str]:
    return [entry.texts.first for entry in entries if isinstance(entry, Pair)]


def things(n: int) -> list[str]:
    return [f"thing {number}" for number in range(n)]


def in_memory(path: str, content: bytes) -> str:
    with fsspec.open(f"memory://{path}", "wb") as file:
        file.write(content)
    return f"memory://{path}"


def write_parquet(file: Path, columns: dict[str, list], group: int = 4) -> Path:
    pq.write_table(pa.table(columns), file, row_group_size=group)
    return file


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_tables_give_images_by_their_path_from_the_table(tmp_path, ending):
    write_image_table(tmp_path, 5, ending)
    entries = read(tmp_path / f"pairs.{ending}")
    assert captions(entries) == things(5)
    assert [entry.name for entry in entries] == [f"images/{number}.png" for number in range(5)]
    assert entries[3].image == picture(3)


def test_a_long_table_is_cut_into_parts_that_can_each_be_entered_anywhere(tmp_path):
    n = 2 * ROWS + 7
    write_image_table(tmp_path, n)
    shards = SourceReader().shards([str(tmp_path / "pairs.csv")])
    assert len(shards) == 3
    assert captions([entry for shard in shards for entry in shard.entries()]) == things(n)
    assert captions(list(shards[1].entries(40))) == things(n)[ROWS + 40 : 2 * ROWS]


def test_captions_with_line_breaks_quotes_and_marks_survive_the_cutting(tmp_path):
    write_files(tmp_path, {"0.png": picture(0)})
    odd = ['a "quoted" cat', "two\nlines", "a,b", "猫"] * 60
    write_table(tmp_path / "t.csv", [["caption", "path"], *([text, "0.png"] for text in odd)])
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "t.csv").read_bytes())
    assert captions(read(tmp_path / "t.csv")) == odd


def test_columns_are_found_by_their_usual_names_or_as_named(tmp_path):
    write_files(tmp_path, {"0.png": picture(0)})
    rows = [["id", "what", "picture", "also"], ["7", "a cat", "0.png", "a pet"]]
    file = write_table(tmp_path / "t.csv", rows)
    with pytest.raises(DataError, match=r"image column: none is called image, path.* of: id, what, picture"):
        read(file)
    with pytest.raises(DataError, match=r"caption column: 'which' is not there; data.pairs.caption_columns"):
        read(file, reader=SourceReader(Columns("picture", ("which",))))
    (entry,) = read(file, reader=SourceReader(Columns("picture", ("what", "also"))))
    assert entry.texts == Texts(("a cat", "a pet"))


def test_paths_lead_from_another_root_if_one_is_named(tmp_path):
    write_image_table(tmp_path / "a", 2)
    (tmp_path / "a" / "images").rename(tmp_path / "images")
    assert captions(
        read(tmp_path / "a" / "pairs.csv", reader=SourceReader(images_root=str(tmp_path)))
    ) == things(2)


def test_rows_without_image_or_caption_say_so_with_their_line(tmp_path):
    write_files(tmp_path, {"0.png": picture(0)})
    rows = [["path", "caption"], ["none.png", "x"], ["0.png", " "], ["", "x"], ["0.png"], ["0.png", "good"]]
    entries = read(write_table(tmp_path / "t.csv", rows))
    assert [(entry.name, entry.reason) for entry in entries[:4] if isinstance(entry, Unusable)] == [
        ("line 2 (none.png)", "no such file"),
        ("line 3 (0.png)", "its caption is empty"),
        ("line 4", "it names no image"),
        ("line 5", "it has 1 columns, not 2"),
    ]
    assert captions(entries) == ["good"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"t\.csv is empty: its first row must name its columns"),
        (b"path,caption\n", r"t\.csv holds no pairs"),
        (b"path,caption\n0.png,\xff\n", r"t\.csv line 2 is not UTF-8"),
        (b'path,caption\n0.png,"' + b"x\n" * 100_000, r"line 65\d+: .*is a quotation mark left open\?"),
    ],
)
def test_a_table_that_cannot_be_read_is_an_error_that_names_the_line(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "t.csv")


def test_parquet_files_hold_paths_or_the_images_themselves(tmp_path):
    write_files(tmp_path, {f"{number}.png": picture(number) for number in range(10)})
    paths = {"path": [f"{number}.png" for number in range(10)], "caption": things(10)}
    embedded = {
        "image": [picture(number) for number in range(10)],
        "text": [[text, "more"] for text in things(10)],
    }
    nested = {"image": [{"bytes": picture(n), "path": None} for n in range(10)], "caption": things(10)}
    for number, columns in enumerate((paths, embedded, nested)):
        entries = read(write_parquet(tmp_path / f"{number}.parquet", columns))
        assert captions(entries) == things(10)
        assert [entry.image for entry in entries] == [picture(n) for n in range(10)]
    assert entries[9].name == "2.parquet:9"


def test_a_group_of_rows_can_be_entered_anywhere(tmp_path):
    file = write_parquet(tmp_path / "p.parquet", {"image": [picture(0)] * 10, "caption": things(10)})
    shards = SourceReader().shards([str(file)])
    assert [captions(list(shard.entries(2))) for shard in shards] == [things(10)[2:4], things(10)[6:8], []]


def test_rows_of_parquet_without_image_or_caption_say_so(tmp_path):
    columns = {"image": [None, b"x" * 51, b"x"], "caption": ["a", "b", None]}
    reader = SourceReader(limits=ImageLimits(max_bytes=50))
    assert [
        entry.reason for entry in read(write_parquet(tmp_path / "p.parquet", columns), reader=reader)
    ] == [
        "column 'image' holds no path and no image",
        "has 51 bytes, limit is 50",
        "its caption is empty",
    ]


def test_what_is_no_parquet_file_is_an_error(tmp_path):
    (tmp_path / "p.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"p\.parquet: not a Parquet file"):
        read(tmp_path / "p.parquet")


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
    assert [entry.name for entry in entries] == ["00000.png", "00001.png", "deep/er/2.JPG", "lonely.png"]
    assert entries[3] == Unusable("lonely.png", "it has no text file beside it")


def test_an_image_over_the_limit_is_not_read_whole(tmp_path):
    write_files(tmp_path / "f", {"a.png": b"x" * 99, "a.txt": b"words"})
    (entry,) = read(tmp_path / "f", reader=SourceReader(limits=ImageLimits(max_bytes=50)))
    assert entry == Unusable("a.png", "has more than 50 bytes, the limit")


def test_a_packed_data_set_gives_its_training_items_with_label_and_keywords(tmp_path):
    pixels = write_tiny_dataset(tmp_path / "d", n_icons=3).source("train-set").images
    items = [PackedItem("x", "cat", ("pet",), ("a cat",)), *(PackedItem(f"{k}", "dog") for k in range(19))]
    write_source(tmp_path / "e", "train", "s", pixels, items)
    entry = SourceEntry("train", "icons", 20, "MIT", "me", "0" * 64)
    write_index(PackedDataset(tmp_path / "e", "e", 32, {"s": entry}))
    found = read(tmp_path / "e")
    assert len(found) == 20
    assert found[0].name == "s:x"
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


def test_a_table_at_a_url_is_fetched_once_and_again_when_it_changes(monkeypatch):
    in_memory("/c/0.png", picture(0))
    opened: list[str] = []
    original = fsspec.open
    monkeypatch.setattr(
        fsspec, "open", lambda url, *args, **kw: (opened.append(url), original(url, *args, **kw))[1]
    )
    table = in_memory("/c/t.csv", b"path,caption\n0.png,first\n")
    opened.clear()
    assert captions(read(table)) + captions(read(table)) == ["first", "first"]
    assert opened.count(table) == 1
    in_memory("/c/t.csv", b"path,caption\n0.png,other one\n")
    assert captions(read(table)) == ["other one"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.csv", r"none\.csv: no such file"),
        ("none", r"none: no such file"),
        ("a.txt", r"a\.txt: not a \.tar"),
        ("s-*.tar", r"s-\*\.tar matches no file"),
        ("memory://nowhere/s.tar", "memory://nowhere/s.tar: no such file"),
        ("nothing://at/all.tar", "nothing://at/all.tar: .*nothing"),
        ("empty", "empty: the folder holds no pairs"),
    ],
)
def test_a_source_that_is_none_is_an_error_that_names_it(tmp_path, monkeypatch, name, message):
    (tmp_path / "a.txt").touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(patience, "WAITS_S", ())
    with pytest.raises(DataError, match=message):
        read(name if "://" in name else tmp_path / name)


def test_braces_are_written_out_as_shells_do():
    assert expand("a-{008..011}.tar") == ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]
    assert expand("{x,y}/{0..1}") == ["x/0", "x/1", "y/0", "y/1"]
    assert expand("a{b}c{}") == ["a{b}c{}"]
    for pattern in ("{0..1000000}", "{0..999}{0..999}{0..1}"):
        with pytest.raises(DataError, match="stands for more than 1000000 files"):
            expand(pattern)
    with pytest.raises(DataError, match="counts down"):
        expand("{3..1}")


def test_wildcards_keep_names_as_they_were_given(tmp_path, monkeypatch):
    write_tars(tmp_path / "s", 2, 1)
    monkeypatch.chdir(tmp_path)
    assert find("s/*.tar") == ["s/s-0.tar", "s/s-1.tar"]
    assert find(f"{tmp_path}/s/*.tar") == [f"{tmp_path}/s/s-0.tar", f"{tmp_path}/s/s-1.tar"]
    (tmp_path / "plain[1].tar").touch()
    assert find("plain[1].tar") == ["plain[1].tar"]


def test_parts_can_be_sent_to_another_process(tmp_path):
    write_image_table(tmp_path / "t", 2)
    write_files(tmp_path / "f", pair_files([0, 1]))
    write_parquet(tmp_path / "p.parquet", {"image": [picture(0), picture(1)], "caption": things(2)})
    pattern = write_tars(tmp_path / "s", 1, 2)
    for source in (tmp_path / "t" / "pairs.csv", tmp_path / "f", tmp_path / "p.parquet", pattern):
        for shard in SourceReader().shards([str(source)]):
            assert captions(list(pickle.loads(pickle.dumps(shard)).entries())) == things(2)
