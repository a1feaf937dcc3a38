"""Files of labels: definitions, and labels of images as other programs have them."""

from pathlib import Path

import pytest

from diptych.cli.transfer.label_files import read_given_labels, read_labels
from diptych.errors import InvalidValue
from diptych_client import Label


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
    file = written(tmp_path, "label,id,more", "cat,a,1", "dog,a,2", "cat,a,3", ",b,4", '"x, y",c,5')
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
    ],
)
def test_wrong_line_is_named(tmp_path: Path, lines: list[str], where: str) -> None:
    file = written(tmp_path, *lines)
    with pytest.raises(InvalidValue) as refused:
        read_given_labels(file)
    assert refused.value.item == f"{file}{where}"


def test_byte_order_mark_of_a_spreadsheet_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert read_given_labels(written(tmp_path, "\ufeffid,label", "a,cat")).labels == {"a": ["cat"]}
