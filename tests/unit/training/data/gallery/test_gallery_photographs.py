"""The photographs of the sample gallery: their list, how they are shrunk, and what is committed."""

import io
import json
from pathlib import Path

from PIL import Image

from diptych_training.data.gallery.photographs import (
    SIDE_PX,
    gallery_photographs,
    shrink,
)

GALLERY = Path(__file__).parents[5] / "server" / "gallery"
MAX_BYTES = 4_000_000


def committed() -> list[dict]:
    return [json.loads(line) for line in (GALLERY / "items.jsonl").read_text(encoding="utf-8").splitlines()]


def test_committed_gallery_is_what_the_list_says_and_a_few_megabytes() -> None:
    items = committed()
    shown = {item["metadata"]["name"]: item["metadata"] for item in items if item["file"].endswith(".jpg")}
    assert shown == {
        one.name: {
            "name": one.name,
            "kind": "photograph",
            "licence": one.listed.licence,
            "author": one.listed.author,
            "source": one.listed.source,
        }
        for one in gallery_photographs()
    }
    files = [file for file in GALLERY.iterdir() if file.suffix in {".png", ".jpg"}]
    assert sorted(file.name for file in files) == sorted(item["file"] for item in items)
    assert sum(file.stat().st_size for file in files) < MAX_BYTES


def test_no_training_saw_a_photograph_of_the_gallery() -> None:
    assert {one.listed.split for one in gallery_photographs()} <= {"judging", "proof"}


def test_attribution_has_author_licence_and_source_of_each_photograph() -> None:
    lines = (GALLERY / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines()
    rows = {line.split(" ")[1]: line for line in lines if "-photo.jpg |" in line}
    for item in committed():
        if item["metadata"]["kind"] == "photograph":
            row = rows.pop(item["file"])
            assert all(item["metadata"][key] in row for key in ("author", "licence", "source"))
    assert rows == {}


def test_photograph_is_shrunk_and_lies_on_white(tmp_path: Path) -> None:
    file = tmp_path / "clear.png"
    Image.new("RGBA", (900, 300), (0, 0, 0, 0)).save(file)
    with Image.open(io.BytesIO(shrink(file))) as small:
        assert (small.format, small.size) == ("JPEG", (SIDE_PX, round(SIDE_PX / 3)))
        assert small.getpixel((5, 5)) == (255, 255, 255)
