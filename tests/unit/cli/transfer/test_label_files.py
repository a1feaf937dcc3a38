"""Files of labels: definitions, and labels of images as other programs have them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych.cli.transfer.label_files import read_given_labels, read_labels
from diptych.errors import InvalidValue
from diptych.wiring.data_folders import write_label_parquet
from diptych_client import Label, LabelSet


def written(folder: Path, *lines: str) -> Path:
    file = folder / "labels"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_definition_has_a_label_a_line_with_words_behind_bars(tmp_path: Path) -> None:
    file = written(tmp_path, "cat", "", "rocket | spaceship|launch, vertical", "  dog ")
    assert read_labels(file) == [
        Label("cat"),
        Label("rocket", ("spaceship", "launch, vertical")),
        Label("dog"),
    ]


def test_rows_of_one_image_are_its_labels(tmp_path: Path) -> None:
    file = written(tmp_path, "label,id,more", "cat,a,1", "dog,a,2", "cat,a,3", ",b,4", ",b,5", '"x, y",c,5')
    assert read_given_labels(file).labels == {"a": ["cat", "dog"], "b": [], "c": ["x, y"]}


def test_lines_of_json_have_a_label_or_several(tmp_path: Path) -> None:
    lines = (
        '{"id": "a", "label": "cat"}',
        "",
        '{"id": "b", "labels": ["x", "y"]}',
        '{"id": "c", "label": null}',
    )
    assert read_given_labels(written(tmp_path, *lines)).labels == {"a": ["cat"], "b": ["x", "y"], "c": []}


def test_what_a_model_said_is_left_out(tmp_path: Path) -> None:
    found = read_given_labels(written(tmp_path, "id,label,by", "a,cat,model", "b,cat,person"))
    assert (found.labels, found.n_of_model) == ({"b": ["cat"]}, 1)
    found = read_given_labels(written(tmp_path, '{"id": "a", "labels": ["cat"], "by": "model"}'))
    assert (found.labels, found.n_of_model) == ({}, 1)


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        (["name,label", "a,cat"], ""),
        ([""], ""),
        (["id,label", "a,cat", ",cat"], ":3"),
        (["id,label", "a"], ":2"),
        (['{"id": "a", "label": "cat"}', "{"], ":2"),
        (['{"id": 1, "label": "cat"}'], ":1"),
        (['{"id": "a"}'], ":1"),
        (['{"id": "a", "label": 3}'], ":1"),
        (['{"id": "a", "label": {}}'], ":1"),
        (['{"id": "a", "labels": "cat"}'], ":1"),
        (['{"id": "", "label": "cat"}'], ":1"),
        (['{"id": "a", "label": "cat"}', '["a", "cat"]'], ":2"),
        (["{" * 100_000], ":1"),
        (["id,label", "a,cat", "b,cat, dog"], ":3"),
        (["id,label", "a,cat", '"b,dog', "c,dog"], ":3"),
        (["id,label", '"a\nb",cat', 'b,"dog"s'], ":4"),
        (["id,label", "a,\0cat"], ":2"),
        (['{"id": "a", "label": "cat"}', '{"id": "\\ud800", "label": "cat"}'], ":2"),
        (["id,label,drawn", "a,cat,true", "b,cat,yes"], ":3"),
        (['{"id": "a", "label": "cat", "drawn": 1}'], ":1"),
        (["id,label,sha256", "a,cat,", "b,cat,ab"], ":3"),
        (["id,label,sha256", f"a,cat,{'a' * 64}", f"a,dog,{'b' * 64}"], ":3"),
    ],
)
def test_wrong_line_is_named(tmp_path: Path, lines: list[str], where: str) -> None:
    file = written(tmp_path, *lines)
    with pytest.raises(InvalidValue) as refused:
        read_given_labels(file)
    assert refused.value.item == f"{file}{where}"


def test_drawn_and_sha256_are_read_where_they_are(tmp_path: Path) -> None:
    sha256 = "0123456789ABCDEF" * 4
    lines = ["id,label,drawn,sha256", f"a,cat,True,{sha256}", "a,dog,,", f"b,,false,{sha256}", "c,cat,,"]
    found = read_given_labels(written(tmp_path, *lines))
    assert (found.drawn, found.sha256s) == ({"a"}, dict.fromkeys("ab", sha256.lower()))
    line = {"id": "a", "label": None, "drawn": True, "sha256": None}
    found = read_given_labels(written(tmp_path, json.dumps(line)))
    assert (found.drawn, found.sha256s) == ({"a"}, {})


@pytest.mark.parametrize(
    ("kind", "last", "said"),
    [
        ("many", "b,fox", r"labels:4: label set 'kind' has no label 'fox', which image 'b' has: nothing"),
        (
            "one",
            "a,dog",
            r"labels:4: label set 'kind' gives an image one .* image 'a' has 'dog', and 'cat' in line 2",
        ),
        ("one", "a,cat", None),
        ("many", "a,dog", None),
    ],
)
def test_line_that_a_set_does_not_allow_is_named(
    tmp_path: Path, kind: Any, last: str, said: str | None
) -> None:
    label_set = LabelSet("kind", (Label("cat"), Label("dog")), kind, "default", None, None, 1, "")
    found = read_given_labels(written(tmp_path, "id,label", "a,cat", "b,dog", last))
    if said is None:
        found.check(label_set)
    else:
        with pytest.raises(InvalidValue, match=said):
            found.check(label_set)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id,label\na,cat\nb,Stra\xdfe\n", r"labels: is not UTF-8: .* at byte 21, in line 3"),
        (b"id,label\na,cat\n" + "b,dog\n".encode("utf-16-le"), r"labels:3: has a NUL character"),
        (b"id;label\na;cat\n", r"labels: needs the columns id and label .*: it has 'id;label'"),
        (b"id,label\na,b,c\n", r"labels:2: 'a,b,c' has 3 cells, the first line has 2: put quotes around"),
        (b'id,label\n"a,cat\n', r"labels:2: is not CSV: unexpected end of data; the row begins there"),
        (b"id,label\na," + b"x" * 10_000_000, r"labels:2: is not CSV: field larger than .* \(131072\)"),
        (
            b'{"id": "' + b"x" * 10_000_000 + b'", "label": "cat"}',
            r"labels:1: has 10,000,026 characters, the limit is 1,000,000",
        ),
        (
            b"id,label\na,cat\nb,\na,\n",
            r"labels:4: image 'a' has none of .* and a label in line 2: leave one",
        ),
        (b"id,label\na,\na,cat\n", r"labels:3: image 'a' has a label here, and none of the labels in line 2"),
        (
            b'{"id": "a", "label": "cat", "labels": ["dog"]}',
            r'labels:1: .* has both "label" and "labels": leave one out',
        ),
        (b'{"id": "a", "label": 3}', r"labels:1: \[3\]: a label must be a text"),
        (b'{"id": "a", "label: "' + b"x" * 900_000, r"labels:1: '{\"id\": \"a\", \"label: \"x+… is not JSON"),
    ],
    ids=[
        "Latin-1",
        "UTF-16",
        "semicolons",
        "comma",
        "quote",
        "long cell",
        "long line",
        "none after a label",
        "label after none",
        "two fields",
        "number",
        "half",
    ],
)
def test_error_names_the_line_the_value_and_the_limit(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "labels"
    file.write_bytes(content)
    with pytest.raises(InvalidValue, match=said) as refused:
        read_given_labels(file)
    assert len(str(refused.value)) < len(str(file)) + 250


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_those_of_any_system_and_nowhere_else(tmp_path: Path, end: str) -> None:
    odd = "a\u2028b\x85c\x0bd"
    file = tmp_path / "labels"
    file.write_bytes(end.join(["id,label", f"a,{odd}", "", f'b,"{odd}"', ""]).encode())
    assert read_given_labels(file).labels == {"a": [odd], "b": [odd]}
    lines = [json.dumps({"id": id, "label": odd}, ensure_ascii=False) for id in "ab"]
    file.write_bytes(end.join([*lines, ""]).encode())
    assert read_given_labels(file).labels == {"a": [odd], "b": [odd]}


def test_parquet_of_an_export_and_of_another_program_is_read(tmp_path: Path) -> None:
    line = {
        "proposed": ["cat"],
        "score": 0.5,
        "margin": 0.25,
        "drawn": True,
        "model": "tiny",
        "version": 1,
        "sha256": "f" * 64,
    }
    rows = [
        {"id": "a", "labels": ["cat", "dog"], "by": "person", **line},
        {"id": "b", "labels": [], "by": "person", **line},
        {"id": "c", "labels": ["cat"], "by": "model", **line},
    ]
    file = tmp_path / "labels.parquet"
    assert write_label_parquet(file, [json.dumps(row).encode() for row in rows]) == 3
    assert pq.read_table(file).to_pylist() == rows
    found = read_given_labels(file)
    assert (found.labels, found.n_of_model) == ({"a": ["cat", "dog"], "b": []}, 1)
    assert (found.drawn, found.sha256s) == ({"a", "b"}, dict.fromkeys("ab", "f" * 64))
    pq.write_table(pa.table({"label": ["cat", None], "more": [1, 2], "id": ["a", "b"]}), file)
    assert read_given_labels(file).labels == {"a": ["cat"], "b": []}


def test_parquet_that_is_none_or_has_other_columns_is_named(tmp_path: Path) -> None:
    file = tmp_path / "labels.parquet"
    file.write_bytes(b"id,label\n")
    with pytest.raises(InvalidValue, match=r"labels\.parquet: cannot be read as Parquet"):
        read_given_labels(file)
    pq.write_table(pa.table({"id": ["a"], "class": ["cat"]}), file)
    with pytest.raises(InvalidValue, match=r"labels\.parquet, row 1: {'id': 'a'} must have"):
        read_given_labels(file)


def test_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert read_given_labels(written(tmp_path, "\ufeffid,label", "a,cat")).labels == {"a": ["cat"]}


def test_rows_that_stand_already_are_found_in_an_export(tmp_path: Path) -> None:
    line = {"by": "person", "sha256": "a" * 64}
    rows = [
        {"id": "same", "labels": ["dog", "cat"], **line},
        {"id": "none", "labels": [], **line},
        {"id": "other", "labels": ["dog"], **line},
        {"id": "by a model", "labels": ["cat"], **line, "by": "model"},
        {"id": "replaced", "labels": ["cat"], **line},
    ]
    export = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    lines = ["id,label,sha256", "same,cat,", "same,dog,", "none,,", "other,cat,", "by a model,cat,"]
    found = read_given_labels(written(tmp_path, *lines, f"replaced,cat,{'b' * 64}"))
    assert found.standing_in(export) == {"same", "none"}
