"""Show an image by its metadata: its name, and its fields as filters call them."""

import json
from collections.abc import Mapping
from typing import Any

_FILE_FIELDS = ("file.name", "file")  # as `diptych add` records the file of an image, now and in 0.1.0


def image_name(metadata: Mapping[str, Any]) -> str | None:
    """Return what people know the image by: its `name`, or else the name of its file."""
    texts = {field: value for field, value in flat(metadata).items() if value and isinstance(value, str)}
    files = [texts[field].rpartition("/")[2] for field in _FILE_FIELDS if field in texts]
    return texts.get("name") or next(iter(files), None)


def flat(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields by their paths, such as `file.name`."""
    fields: dict[str, Any] = {}
    for key, value in metadata.items():
        inner = flat(value) if isinstance(value, dict) and value else None
        fields |= {key: value} if inner is None else {f"{key}.{path}": one for path, one in inner.items()}
    return fields


def brief(value: object) -> str:
    """Return a value of metadata as one text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
