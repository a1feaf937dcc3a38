"""JSON Lines: an object a line, read in parts of any size."""

import json

import pytest

from diptych_training.data.pairs.pair import Pair, Texts, Unusable
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.data.pairs.sources.table import Columns
from diptych_training.errors import DataError
from support.pair_files import picture, write_files


def entries_of(tmp_path, lines, columns=Columns(), **options):  # noqa: B008  frozen
    (tmp_path / "pairs.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    write_files(tmp_path, {"1.png": picture(1)})
    shards = SourceReader(columns).shards([str(tmp_path / "pairs.jsonl")])
    return [entry for shard in shards for entry in shard.entries(**options)]


@pytest.mark.parametrize(
    ("row", "columns", "texts"),
    [
        ({"image": "1.png", "caption": "a heron"}, Columns(), Texts(("a heron",))),
        ({"file_name": "1.png", "text": ["a heron", "a bird"]}, Columns(), Texts(("a heron", "a bird"))),
        ({"path": "1.png", "label": "heron", "keywords": ["bird"], "captions": ["a heron"]}, Columns(),
         Texts(("a heron",), "heron", ("bird",))),
        ({"photo": "1.png", "de": "Reiher", "en": ["heron"]}, Columns("photo", ("en", "de")),
         Texts(("heron", "Reiher"))),
    ],
)  # fmt: skip
def test_a_line_names_an_image_and_its_texts(tmp_path, row, columns, texts):
    (entry,) = entries_of(tmp_path, [json.dumps(row).encode()], columns)
    prefix = f"{tmp_path.name}/pairs.jsonl"
    assert entry == Pair(f"{prefix}:1.png", picture(1), texts)
    assert entry.texts.origin == "JSON Lines"


@pytest.mark.parametrize(
    ("line", "name", "reason"),
    [
        (b'{"image": "1.png", "caption": 17}', "2 (1.png)", "its JSON key 'caption' is 17, neither a text"),
        (b'{"image": "1.png", "caption": " "}', "2 (1.png)", "its caption is empty or missing"),
        (b'{"image": "none.png", "caption": "a"}', "2 (none.png)", "no such file"),
        (b'{"image": 3, "caption": "a"}', "2", "it cannot be read: 3 is no path or URL"),
        (b'{"caption": "a"}', "2", "it cannot be read: an image is missing: one of image, path"),
        (b"[1, 2]", "2", "it cannot be read: not an object but [1, 2]"),
        (b'{"image": "1.png", ', "2", "it cannot be read: Expecting property name"),
        (b"\xff\xfe", "2", "it cannot be read: 'utf-8' codec"),
        (b"[" * 100_000, "2", "it cannot be read: "),
    ],
)
def test_a_line_that_cannot_be_used_is_named_with_its_value_and_the_next_is_read(
    tmp_path, line, name, reason
):
    sound = b'{"image": "1.png", "caption": "a heron"}'
    first, bad, last = entries_of(tmp_path, [sound, line, b"", sound])
    assert isinstance(first, Pair)
    assert isinstance(last, Pair)
    assert isinstance(bad, Unusable)
    assert bad.name == f"{tmp_path.name}/pairs.jsonl:{name}"
    assert reason in bad.reason


def test_any_part_of_a_long_file_can_be_read_alone(tmp_path):
    lines = [json.dumps({"image": f"{n}.png", "caption": f"thing {n}"}).encode() for n in range(250)]
    lines[120] = b"{}"
    every = entries_of(tmp_path, lines, with_images=False)
    assert [entry.name.rpartition(":")[2] for entry in every] == [
        "121" if n == 120 else f"{n}.png" for n in range(250)
    ]
    shards = SourceReader().shards([str(tmp_path / "pairs.jsonl")])
    assert len(shards) == 3
    assert list(shards[1].entries(5, 7, with_images=False)) == every[105:200:7]


def test_an_empty_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"pairs\.jsonl holds no pairs"):
        entries_of(tmp_path, [b"", b" "])
