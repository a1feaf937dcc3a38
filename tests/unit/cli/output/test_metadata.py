"""The name that an image is shown by."""

from typing import Any

import pytest

from diptych.cli.output.metadata import flat, image_name


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"name": "a cat", "file": {"name": "tom.jpg"}}, "a cat"),
        ({"name": "", "file": {"name": "tom.jpg", "folder": "cats"}}, "tom.jpg"),
        ({"name": 7, "file": "cats/tom.jpg"}, "tom.jpg"),
        ({"file": {"name": None}}, None),
        ({"file": {}}, None),
        ({}, None),
    ],
)
def test_image_is_known_by_its_name_or_else_by_that_of_its_file(
    metadata: dict[str, Any], name: str | None
) -> None:
    assert image_name(metadata) == name


def test_fields_have_the_paths_that_filters_take() -> None:
    nested = {"a": {"b": {"c": 1}, "d": [2]}, "e": {}}
    assert flat(nested) == {"a.b.c": 1, "a.d": [2], "e": {}}
