"""CSV and TSV files of image paths and captions: what is read, and what is wrong with a row."""

import numpy as np
import pytest

from diptych_training.data.pairs.pair import Texts, Unusable
from diptych_training.data.pairs.sources import rows
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.data.pairs.sources.table import ROWS_PER_SHARD, Columns
from diptych_training.errors import DataError
from support.pair_files import picture, write_files, write_image_table, write_table
from support.pair_reading import captions, read, things

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_tables_give_images_by_their_path_from_the_table(tmp_path, ending):
    write_image_table(tmp_path, 5, ending)
    entries = read(tmp_path / f"pairs.{ending}")
    assert captions(entries) == things(5)
    prefix = f"{tmp_path.name}/pairs.{ending}"
    assert [entry.name for entry in entries] == [f"{prefix}:images/{number}.png" for number in range(5)]
    assert entries[3].image == picture(3)


def test_a_long_table_is_cut_into_parts_that_can_each_be_entered_anywhere(tmp_path):
    n = 2 * ROWS_PER_SHARD + 7
    write_image_table(tmp_path, n)
    shards = SourceReader().shards([str(tmp_path / "pairs.csv")])
    assert len(shards) == 3
    assert captions([entry for shard in shards for entry in shard.entries()]) == things(n)
    assert captions(list(shards[1].entries(40))) == things(n)[ROWS_PER_SHARD + 40 : 2 * ROWS_PER_SHARD]


def test_columns_are_found_by_their_usual_names_or_as_named(tmp_path):
    write_files(tmp_path, {"0.png": picture(0)})
    rows = [["id", "what", "picture", "also"], ["7", "a cat", "0.png", "a pet"]]
    file = write_table(tmp_path / "t.csv", rows)
    with pytest.raises(DataError, match=r"image column: none is called image, path.* of: id, what, picture"):
        read(file)
    with pytest.raises(
        DataError, match=r"'which' is not there; --caption-column, or data.pairs.caption_columns"
    ):
        read(file, reader=SourceReader(Columns("picture", ("which",))))
    (entry,) = read(file, reader=SourceReader(Columns("picture", ("what", "also"))))
    assert entry.texts == Texts(("a cat", "a pet"))


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
    rows = b"path,caption\n0.png,before\n" + bad + b"0.png,after\n" * (ROWS_PER_SHARD + 3)
    (tmp_path / f"t.{ending}").write_bytes(rows if ending == "csv" else rows.replace(b",", b"\t"))
    found = read(tmp_path / f"t.{ending}")
    ((number, broken),) = [(n, entry) for n, entry in enumerate(found) if isinstance(entry, Unusable)]
    assert (number, broken.name) == (1, f"{tmp_path.name}/t.{ending}:3")
    assert reason in broken.reason
    expected = ["before", *["more"] * bad.count(b"more"), *["after"] * (ROWS_PER_SHARD + 3)]
    assert captions(found) == expected


@pytest.mark.parametrize(
    "torn",
    [
        [("0.png", "before"), ('0.png,"open', None), ("0.png", "more"), ("0.png", '"a quoted one"')],
        [('0.png,"open', None), ("0.png", "more"), ('"0.png"', '"all is quoted"'), ("0.png", '"two\nlines"')],
        [('"0.png","open', None), ('"0.png"', '"more, and more"'), ('"0.png"', '""')],
        [('0.png,"open', None), ("0.png", "more"), ("0.png", 'a screen of 5"')],
        [('0.png,"open', None), ("0.png", 'a screen of 5", and more')],
        [('0.png,"open', None), ('0.png,"open too', None), ("0.png", "more"), ("0.png", '"two\nlines"')],
    ],
)
def test_an_open_quotation_mark_costs_its_own_line_though_others_follow(tmp_path, torn):
    write_files(tmp_path, {"0.png": picture(0)})
    lines = [image if text is None else f"{image},{text}" for image, text in torn]
    (tmp_path / "t.csv").write_text(
        "path,caption\n" + "\n".join(lines) + "\n" + "0.png,after\n" * ROWS_PER_SHARD
    )
    rest = [line for line, (_, text) in zip(lines, torn, strict=True) if text is not None]
    (tmp_path / "rest.csv").write_text(
        "path,caption\n" + "\n".join(rest) + "\n" + "0.png,after\n" * ROWS_PER_SHARD
    )
    found, expected = read(tmp_path / "t.csv"), read(tmp_path / "rest.csv")
    assert captions(found) == captions(expected)
    opened = [entry for entry in found if isinstance(entry, Unusable) and "mark is left open" in entry.reason]
    assert len(opened) == sum(text is None for _, text in torn)
    assert len(found) == len(expected) + len(opened)
    for shard in SourceReader().shards([str(tmp_path / "t.csv")]):
        assert list(shard.entries(2, 3)) == list(shard.entries())[2::3]


@pytest.mark.parametrize("columns", [("path", "caption"), ("caption", "path")])
@pytest.mark.parametrize("mark", ["\n", "\r\n"])
def test_captions_of_several_lines_stay_whatever_commas_marks_and_names_they_hold(tmp_path, columns, mark):
    write_files(tmp_path, {"0.png": picture(0)})
    odd = [
        "a cat,\na dog",
        'a "big"\n"cat", they say',
        "as in 0.png\nand so on",
        "http://a/b, a site\nof cats",
    ]
    odd = [text.replace("\n", mark) for text in odd]
    rows = [{"path": "0.png", "caption": text} for text in odd]
    write_table(tmp_path / "t.csv", [columns, *([row[name] for name in columns] for row in rows)])
    assert captions(read(tmp_path / "t.csv")) == odd


def test_bad_rows_are_where_they_are_from_wherever_a_table_is_entered(tmp_path):
    write_files(tmp_path, {"0.png": picture(0)})
    kinds = [b"0.png,fine\n", b"0.png,\xff\n", b'0.png,"open\n', b'0.png,"two\nlines"\n', b"0.png\n", b"\n"]
    drawn = np.random.default_rng(5).integers(len(kinds), size=5 * ROWS_PER_SHARD)
    (tmp_path / "t.csv").write_bytes(b"path,caption\n" + b"".join(kinds[kind] for kind in drawn))
    shards = SourceReader().shards([str(tmp_path / "t.csv")])
    assert len(shards) > 2
    for shard in shards:
        whole = list(shard.entries())
        assert len(whole) == ROWS_PER_SHARD or shard is shards[-1]
        for start, step in ((0, 3), (1, 1), (2, 3), (ROWS_PER_SHARD // 2, 7)):
            assert list(shard.entries(start, step)) == whole[start::step]


def test_a_line_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 200)
    write_files(tmp_path, {"0.png": picture(0)})
    content = b"path,caption\n0.png,before\n0.png," + b"x," * 500 + b"\n0.png,after\n"
    (tmp_path / "t.csv").write_bytes(content)
    found = read(tmp_path / "t.csv")
    assert captions(found) == ["before", "after"]
    assert {entry.name for entry in found if isinstance(entry, Unusable)} == {f"{tmp_path.name}/t.csv:3"}


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
