"""A picture of the gallery: a file with what is known about it."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class GalleryPicture:
    """`content` is the file; `metadata` has at least name, kind, licence and author."""

    file: str
    content: bytes
    metadata: dict[str, str]

    @property
    def line(self) -> str:
        """Its line of items.jsonl."""
        item = {"file": self.file, "id": self.file.partition(".")[0], "metadata": self.metadata}
        return json.dumps(item, ensure_ascii=False) + "\n"
