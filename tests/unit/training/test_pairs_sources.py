"""Every kind of source gives the same pairs, and says what is wrong with the others."""

import builtins
import contextlib
import gzip
import io
import pickle
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych.bundle.image import ImageLimits
from diptych_training.data.packed import PackedDataset, PackedItem, SourceEntry, write_index, write_source
from diptych_training.data.pairs import parquet, patience, rows, unpack, urls
from diptych_training.data.pairs.pair import Entry, Pair, Texts, Unusable
from diptych_training.data.pairs.parquet import BATCH_ROWS
from diptych_training.data.pairs.prefixes import prefixes_of
from diptych_training.data.pairs.sources import SourceReader
from diptych_training.data.pairs.stream import Cursor, Order, Stream
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
    prefix = f"{tmp_path.name}/pairs.{ending}"
    assert [entry.name for entry in entries] == [f"{prefix}:images/{number}.png" for number in range(5)]
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
    entries = read(
        write_table(tmp_path / "f" / "t.csv", rows), reader=SourceReader(images_root=str(tmp_path))
    )
    assert [(entry.name, entry.reason) for entry in entries[:4] if isinstance(entry, Unusable)] == [
        ("f/t.csv:2 (none.png)", "no such file"),
        ("f/t.csv:3 (0.png)", "its caption is empty"),
        ("f/t.csv:4", "it names no image"),
        ("f/t.csv:5", "it has 1 columns, not 2"),
    ]
    assert captions(entries) == ["good"]


LONG = b"x" * 140_000


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"0.png,\xff\n", "it is not UTF-8"),
        (b"0.png,a\0b\n", "it holds a NUL byte"),
        (b"0.png," + LONG + b"\n", "or a field has more than 131,072 characters"),
        (b"0.png,a cat, sitting\n", "it has 3 columns, not 2"),
        (b"0.png\n", "it has 1 columns, not 2"),
        (b'0.png,"a quotation\n', "is left open"),
        (b'0.png,"a quotation\n' + b"0.png,more\n" * 20_000, "is left open"),
        (b"0.png,a\rb\n", "new-line character seen in unquoted field"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_bad_row_is_told_by_its_line_and_the_rows_around_it_are_kept(tmp_path, ending, bad, reason):
    write_files(tmp_path, {"0.png": picture(0)})
    rows = b"path,caption\n0.png,before\n" + bad + b"0.png,after\n" * (ROWS + 3)
    (tmp_path / f"t.{ending}").write_bytes(rows if ending == "csv" else rows.replace(b",", b"\t"))
    found = read(tmp_path / f"t.{ending}")
    ((number, broken),) = [(n, entry) for n, entry in enumerate(found) if isinstance(entry, Unusable)]
    assert (number, broken.name) == (1, f"{tmp_path.name}/t.{ending}:3")
    assert reason in broken.reason
    expected = ["before", *["more"] * bad.count(b"more"), *["after"] * (ROWS + 3)]
    assert captions(found) == expected


def test_bad_rows_are_where_they_are_from_wherever_a_table_is_entered(tmp_path):
    write_files(tmp_path, {"0.png": picture(0)})
    kinds = [b"0.png,fine\n", b"0.png,\xff\n", b'0.png,"open\n', b'0.png,"two\nlines"\n', b"0.png\n", b"\n"]
    drawn = np.random.default_rng(5).integers(len(kinds), size=5 * ROWS)
    (tmp_path / "t.csv").write_bytes(b"path,caption\n" + b"".join(kinds[kind] for kind in drawn))
    shards = SourceReader().shards([str(tmp_path / "t.csv")])
    assert len(shards) > 2
    for shard in shards:
        whole = list(shard.entries())
        assert len(whole) == ROWS or shard is shards[-1]
        for start, step in ((0, 3), (1, 1), (2, 3), (ROWS // 2, 7)):
            assert list(shard.entries(start, step)) == whole[start::step]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 200)
    write_files(tmp_path, {"0.png": picture(0)})
    content = b"path,caption\n0.png,before\n0.png," + b"x," * 500 + b"\n0.png,after\n"
    (tmp_path / "t.csv").write_bytes(content)
    found = read(tmp_path / "t.csv")
    assert captions(found) == ["before", "after"]
    assert {entry.name for entry in found if isinstance(entry, Unusable)} == {f"{tmp_path.name}/t.csv:3"}


def test_empty_columns_at_the_end_of_a_row_are_not_counted(tmp_path):
    write_files(tmp_path, {"0.png": picture(0)})
    file = write_table(tmp_path / "t.csv", [["path", "caption"], ["0.png", "good", "", ""]])
    assert captions(read(file)) == ["good"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"t\.csv is empty: its first row must name its columns"),
        (b"path,caption\n", r"t\.csv holds no pairs"),
        (b"path,capt\xffion\n0.png,x\n", r"t\.csv line 1, which must name the columns: it is not UTF-8"),
        (b'path,"caption\n0.png,x\n', r"t\.csv line 1, .*: a quotation mark is left open"),
    ],
)
def test_a_table_that_does_not_name_its_columns_is_an_error(tmp_path, content, message):
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
    assert entries[9].name == f"{tmp_path.name}/2.parquet:9"


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


def test_a_damaged_page_of_a_parquet_file_loses_the_rest_of_its_group_and_no_more(tmp_path):
    n = 4 * BATCH_ROWS
    columns = {"image": [picture(number) for number in range(n)], "caption": things(n)}
    file = tmp_path / "p.parquet"
    pq.write_table(
        pa.table(columns), file, row_group_size=2 * BATCH_ROWS, use_dictionary=False, write_page_checksum=True
    )
    column = pq.ParquetFile(file).metadata.row_group(0).column(1)
    content = bytearray(file.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 255
    file.write_bytes(content)
    lost, *others = read(file)
    assert lost.name == f"{tmp_path.name}/p.parquet:row group 0"
    assert "row 0 cannot be read, and the rest of the group is lost: " in lost.reason
    assert captions(others) == things(n)[2 * BATCH_ROWS :]
    damaged = SourceReader().shards([str(file)])[0]
    assert [list(damaged.entries(start, 3)) for start in range(3)] == [[lost], [], []]


def test_a_value_of_a_parquet_file_that_is_not_utf_8_costs_its_row_alone(tmp_path):
    captions_ = pa.array([b"good", b"\xff", b"fine"]).view(pa.string())
    pq.write_table(pa.table({"image": [picture(0)] * 3, "caption": captions_}), tmp_path / "p.parquet")
    found = read(tmp_path / "p.parquet")
    assert captions(found) == ["good", "fine"]
    assert found[1] == Unusable(f"{tmp_path.name}/p.parquet:1", "column 'caption' is not UTF-8")


def test_a_server_that_fails_in_a_parquet_file_is_an_error_and_no_damage(tmp_path, monkeypatch):
    large = [bytes([number]) * 200_000 for number in range(4)]
    pq.write_table(
        pa.table({"image": large, "caption": things(4)}), tmp_path / "p.parquet", compression="none"
    )
    file = tmp_path / "p.parquet"
    (shard,) = SourceReader().shards([str(file)])
    reader = io.BytesIO(file.read_bytes())
    n_left = 1  # of the footer

    def read_or_fail(n_bytes: int = -1) -> bytes:
        nonlocal n_left
        n_left -= 1
        if n_left < 0:
            raise ConnectionError("reset by peer")
        return io.BytesIO.read(reader, n_bytes)

    monkeypatch.setattr(
        parquet, "open_url", lambda url: contextlib.nullcontext(Scripted(reader, read_or_fail))
    )
    with pytest.raises(DataError, match=r"p\.parquet: cannot be read: reset by peer"):
        list(shard.entries())


class Scripted:
    """A file whose `read` is another's."""

    def __init__(self, file: io.BytesIO, read: Callable[[int], bytes]) -> None:
        self.read, self.seek, self.tell = read, file.seek, file.tell


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
    assert [entry.name for entry in entries] == [
        "f:00000.png", "f:00001.png", "f:deep/er/2.JPG", "f:lonely.png",
    ]  # fmt: skip
    assert entries[3] == Unusable("f:lonely.png", "it has no text file beside it")


def test_an_image_over_the_limit_is_not_read_whole(tmp_path):
    write_files(tmp_path / "f", {"a.png": b"x" * 99, "a.txt": b"words"})
    (entry,) = read(tmp_path / "f", reader=SourceReader(limits=ImageLimits(max_bytes=50)))
    assert entry == Unusable("f:a.png", "has more than 50 bytes, the limit")


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


def count_opens(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each path or URL is opened from now on."""
    opened: Counter[str] = Counter()
    original = urls.open_url
    for module in [module for module in sys.modules.values() if getattr(module, "open_url", 0) is original]:
        monkeypatch.setattr(
            module, "open_url", lambda url: (opened.update([Path(url).name]), original(url))[1]
        )
    return opened


@pytest.mark.parametrize("kind", ["csv", "parquet", "folder"])
def test_each_image_is_fetched_once_an_epoch_however_many_streams_share_a_source(tmp_path, monkeypatch, kind):
    n = 30
    write_image_table(tmp_path / "t", n)
    paths = [f"images/{number}.png" for number in range(n)]
    write_parquet(tmp_path / "t" / "pairs.parquet", {"path": paths, "caption": things(n)}, group=n)
    write_files(
        tmp_path / "t" / "images", {f"{number}.txt": text.encode() for number, text in enumerate(things(n))}
    )
    source = tmp_path / "t" / ("images" if kind == "folder" else f"pairs.{kind}")
    shards = SourceReader().shards([str(source)])
    assert len(shards) == 1
    opened = count_opens(monkeypatch)
    streams = [Stream(shards, number, Order(seed=1, n_streams=8, block_size=4)) for number in range(8)]
    found = [entry for stream in streams for entry, _ in stream.entries(Cursor(), n_epochs=1)]
    assert sorted(captions(found)) == sorted(things(n))
    assert {name: n for name, n in opened.items() if name.endswith(".png")} == {
        f"{k}.png": 1 for k in range(n)
    }


@pytest.mark.parametrize("n_streams", [1, 8])
def test_a_place_in_the_middle_of_a_table_fetches_nothing_of_what_was_before_its_block(
    tmp_path, monkeypatch, n_streams
):
    write_image_table(tmp_path, 64)
    shards = SourceReader().shards([str(tmp_path / "pairs.csv")])
    stream = Stream(shards, 0, Order(seed=1, n_streams=n_streams, block_size=2))
    found = [cursor for _, cursor in stream.entries(Cursor(), n_epochs=1)]
    opened = count_opens(monkeypatch)
    list(stream.entries(found[-3], n_epochs=1))
    assert opened.total() == 2


def test_names_tell_sources_of_the_same_name_by_their_folders():
    assert prefixes_of({"/d/a/s.tar": 2, "/d/b/s.tar": 2, "/d/photos": 1}) == {
        "/d/a/s.tar": "a/s.tar",
        "/d/b/s.tar": "b/s.tar",
        "/d/photos": "photos",
    }
    deep = {"/x/train/s.tar": 2, "/y/train/s.tar": 2, "s3://b/train/s.tar": 2, "/d/other/s.tar": 2}
    assert list(prefixes_of(deep).values()) == [
        "x/train/s.tar",
        "y/train/s.tar",
        "b/train/s.tar",
        "other/s.tar",
    ]
    same = {"/d/a/s.tar": 2, "/d/./a/s.tar": 2}
    assert set(prefixes_of(same).values()) == {"a/s.tar"}


def test_a_signature_is_no_part_of_a_name_but_where_nothing_else_tells_two_files():
    signed = "https://h.org/a/s.tar?sig=a/b"
    assert prefixes_of({signed: 2}) == {signed: "a/s.tar"}
    assert (
        len(set(prefixes_of({"https://h.org/get.tar?id=1": 2, "https://h.org/get.tar?id=2": 2}).values()))
        == 2
    )
    short = {"https://h.org/s.tar": 2, "https://h.org//s.tar": 2}
    assert len(set(prefixes_of(short).values())) == 2


def test_pairs_of_two_folders_with_files_of_the_same_names_have_names_of_their_own(tmp_path):
    for folder in ("a", "b"):
        write_tars(tmp_path / folder, 1, 2)
        write_image_table(tmp_path / folder / "t", 2)
        write_files(tmp_path / folder / "f", pair_files([0]))
    found = read(*(tmp_path / f / name for f in ("a", "b") for name in ("s-0.tar", "t/pairs.csv", "f")))
    assert len({entry.name for entry in found}) == len(found) == 10
    assert {entry.name for entry in found} >= {
        "a/s-0.tar:00001",
        "b/t/pairs.csv:images/0.png",
        "a/f:00000.png",
    }


def test_endings_are_known_in_capitals_and_before_a_query(tmp_path):
    tar = tar_of(pair_files([0]))
    write_files(tmp_path, {"S.TAR": tar, "S.Tar.GZ": gzip.compress(tar), "images/0.PNG": picture(0)})
    write_table(tmp_path / "T.TSV", [["path", "caption"], ["images/0.PNG", "thing 0"]], "\t")
    write_files(tmp_path / "F", {"0.PNG": picture(0), "0.TXT": b"thing 0"})
    parquet_file = write_parquet(tmp_path / "P.Parquet", {"image": [picture(0)], "caption": things(1)})
    for name in ("S.TAR", "S.Tar.GZ", "T.TSV", "F", parquet_file.name):
        assert captions(read(tmp_path / name)) == ["thing 0"]


def test_a_query_is_passed_on_to_the_server_and_is_no_wildcard(monkeypatch):
    tar = tar_of(pair_files([0]))
    packed = gzip.compress(tar)
    asked: list[str] = []

    def answer(url: str, *_: object) -> object:
        asked.append(url)
        content = packed if ".gz" in url else tar
        return contextlib.nullcontext(io.BytesIO(content)) if url else None

    monkeypatch.setattr(fsspec, "open", lambda url, mode: Opened(answer(url)))
    for url in ("https://h.org/a.tar?sig=x/y*z", "s3://b/a.TAR.gz?versionId=3"):
        assert captions(read(url)) == ["thing 0"]
    assert asked == ["https://h.org/a.tar?sig=x/y*z", "s3://b/a.TAR.gz?versionId=3"]


class Opened:
    """What `fsspec.open` gives."""

    def __init__(self, file: object) -> None:
        self._file = file

    def open(self) -> object:
        return self._file


def test_a_library_that_is_not_installed_is_told_with_the_extra_that_brings_it(tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.partition(".")[0] in ("aiohttp", "requests"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    for protocol in ("http", "https"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    monkeypatch.setattr(unpack, "available_compressions", lambda: [None, "gzip"])
    (tmp_path / "s.tar.zst").touch()
    for source in (
        "https://h.org/s.tar",
        "https://h.org/s-*.tar",
        "https://h.org/t.csv",
        str(tmp_path / "s.tar.zst"),
    ):
        with pytest.raises(DataError, match=r"pip install 'diptych-training\[remote\]'"):
            read(source)
