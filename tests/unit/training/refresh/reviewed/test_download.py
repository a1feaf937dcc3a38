"""The files of reviewed pictures in the cache."""

import pytest

from diptych_client import ImageRecord
from diptych_training.data.pairs.pair import Texts
from diptych_training.refresh.reviewed.download import file_name, image_id, write_texts


def record(id: str) -> ImageRecord:
    return ImageRecord(
        id=id,
        collection="pets",
        sha256="0" * 64,
        n_bytes=1,
        media_type="image/jpeg",
        width=1,
        height=1,
        metadata={},
        created_at="2026-01-01T00:00:00Z",
    )


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("rex.1~a_B", "rex.1~a_B.jpeg"),
        (".rex", "%2Erex.jpeg"),
        ("../../rex", "%2E.%2F..%2Frex.jpeg"),
        ("/etc/rex", "%2Fetc%2Frex.jpeg"),
    ],
)
def test_a_file_is_named_by_the_id_of_its_image_and_stays_in_the_folder(id, name):
    assert file_name(record(id)) == name
    assert image_id(name) == id


def test_texts_that_did_not_change_keep_their_time_and_other_files_go(tmp_path):
    texts = {"rex.png": Texts(("dog",)), "tom.png": Texts(("cat",))}
    for name in (*texts, "old.png", "old.json"):
        (tmp_path / name).write_bytes(b"picture")
    write_texts(texts, tmp_path)
    written = (tmp_path / "rex.json").stat().st_mtime_ns

    write_texts({"rex.png": Texts(("dog",))}, tmp_path)

    assert {file.name for file in tmp_path.iterdir()} == {"rex.png", "rex.json"}
    assert (tmp_path / "rex.json").stat().st_mtime_ns == written
