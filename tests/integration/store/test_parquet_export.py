"""Collections as Parquet files: every row, what made its vector, and one moment of it all."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych.adapters import parquet
from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.parquet import ParquetReader, ParquetWriter
from diptych.adapters.sqlite.store import SqliteStore
from diptych.bundle.manifest import identity
from diptych.bundle.repository import ModelRepository
from diptych.cli import main
from diptych.core.collections.stored.ids import sha256_of
from diptych.core.transfer import Heading, Row, VectorSource
from diptych.errors import InvalidValue
from integration.backup_parts import back_up
from integration.data_folders import COLLECTION, REF, add, change, number_of, put
from support.fixtures import model_repo_fixture
from support.tiny_bundle import TINY, write_tiny_bundle

PETS = {"cat": b"cat", "dog": b"a dog", "cow": b"a cow that moos"}
MAKER = VectorSource(TINY, 1, "fp32", "exact")


model_repo = model_repo_fixture({"precisions": {"fp32": "equal", "int8": "equal"}}, {"seed": 1})


def identity_of(model_repo: Path, version: int, precision: str = "fp32") -> str:
    return identity(ModelRepository(model_repo).manifest(TINY, version), precision, "exact")


@pytest.fixture
def data_dir(tmp_path: Path, model_repo: Path) -> Path:
    add(tmp_path / "data", PETS, identity_of(model_repo, 1))
    return tmp_path / "data"


def export(data_dir: Path, model_repo: Path, file: Path, *flags: str) -> int:
    places = ["--data-dir", str(data_dir), "--model-repo", str(model_repo)]
    return main(["collections", "export", COLLECTION, str(file), *places, *flags])


def table(file: Path) -> dict[str, list[Any]]:
    read: dict[str, list[Any]] = pq.read_table(file).to_pydict()
    return read


def said(file: Path) -> dict[str, Any]:
    spoken: dict[str, Any] = json.loads(pq.read_schema(file).metadata[b"diptych"])
    return spoken


def test_every_row_is_there_in_typed_columns_and_the_file_says_what_made_the_vectors(
    data_dir: Path, model_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pets.parquet"
    assert export(data_dir, model_repo, file) == 0
    assert (
        capsys.readouterr().out
        == f"{file}: 3 images of pets, with vectors of tiny/1 (fp32, exact decoding)\n"
    )
    rows = table(file)
    assert list(rows) == [
        "id",
        "sha256",
        "media_type",
        "width",
        "height",
        "metadata",
        "created_at",
        "embedding",
    ]
    assert rows["id"] == ["cat", "dog", "cow"]
    assert rows["sha256"] == [sha256_of(payload) for payload in PETS.values()]
    assert [json.loads(metadata) for metadata in rows["metadata"]] == [{"n": 3}, {"n": 5}, {"n": 15}]
    assert rows["embedding"] == [[3.0] * 4, [5.0] * 4, [15.0] * 4]
    assert (rows["width"], rows["height"], rows["media_type"]) == ([4] * 3, [5] * 3, ["image/png"] * 3)
    schema = pq.read_schema(file)
    assert schema.field("embedding").type == pa.list_(pa.float32(), 4)
    assert schema.field("created_at").type == pa.timestamp("ms", tz="UTC")
    assert said(file) == {
        "format": 1,
        "collection": COLLECTION,
        "maker": {"name": TINY, "version": 1, "precision": "fp32", "decode": "exact"},
        "identity": identity_of(model_repo, 1),
        "embed_dim": 4,
    }


def test_images_come_along_when_they_are_asked_for(data_dir: Path, model_repo: Path, tmp_path: Path) -> None:
    assert export(data_dir, model_repo, tmp_path / "pets.parquet", "--with-images") == 0
    assert table(tmp_path / "pets.parquet")["image"] == list(PETS.values())


def test_lost_image_is_null_and_said(
    data_dir: Path, model_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sha256 = sha256_of(b"cat")
    (data_dir / "images" / sha256[:2] / sha256).unlink()
    assert export(data_dir, model_repo, tmp_path / "pets.parquet", "--with-images") == 1
    assert table(tmp_path / "pets.parquet")["image"] == [None, b"a dog", b"a cow that moos"]
    assert capsys.readouterr().err.startswith("1 kept images are missing")


def test_folder_is_read_beside_the_process_that_holds_it_and_a_backup_as_well(
    data_dir: Path, model_repo: Path, tmp_path: Path
) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await put(store, files, {"late": b"late"}, identity_of(model_repo, 1))
        assert export(data_dir, model_repo, tmp_path / "beside.parquet") == 0

    change(data_dir, work)
    back_up(data_dir, tmp_path / "backup")
    assert export(tmp_path / "backup", model_repo, tmp_path / "backup.parquet", "--with-images") == 0
    assert table(tmp_path / "beside.parquet")["id"] == ["cat", "dog", "cow", "late"]
    assert table(tmp_path / "backup.parquet")["image"] == [*PETS.values(), b"late"]


async def embed_again(store: SqliteStore, identity: str, keys: list[int]) -> None:
    await store.vectors.put(
        await number_of(store, COLLECTION), keys, np.full((len(keys), 4), 7, np.float32), identity
    )


def test_of_several_versions_the_newest_complete_one_is_taken_unless_another_is_wanted(
    data_dir: Path, model_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await embed_again(store, identity_of(model_repo, 1, "int8"), [1, 2])
        await embed_again(store, identity_of(model_repo, 2), [1, 2, 3])

    change(data_dir, work)
    assert export(data_dir, model_repo, tmp_path / "newest.parquet") == 0
    assert said(tmp_path / "newest.parquet")["maker"]["version"] == 2
    assert export(data_dir, model_repo, tmp_path / "first.parquet", "--version", "1") == 0
    assert table(tmp_path / "first.parquet")["embedding"][0] == [3.0] * 4
    capsys.readouterr()
    assert export(data_dir, model_repo, tmp_path / "int8.parquet", "--precision", "int8") == 0
    assert table(tmp_path / "int8.parquet")["embedding"] == [[7.0] * 4, [7.0] * 4, None]
    assert capsys.readouterr().err == "1 images have no such vector: their embedding is null\n"
    assert export(data_dir, model_repo, tmp_path / "fast.parquet", "--decode", "fast") == 1
    there = "tiny/1 (fp32, exact decoding), tiny/1 (int8, exact decoding), tiny/2 (fp32, exact decoding)"
    assert f"collection 'pets' has no such vectors, but those of {there}" in capsys.readouterr().err


def test_vectors_that_no_version_of_the_repository_made_are_refused_as_nobody_could_name_them(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_bundle(tmp_path / "other_repo", seed=5)
    assert export(data_dir, tmp_path / "other_repo", tmp_path / "pets.parquet") == 1
    complaint = capsys.readouterr().err
    assert "has 3 vectors of a version that is not in the model repository, which has tiny/1 (" in complaint
    assert export(data_dir, tmp_path / "no_repo", tmp_path / "pets.parquet") == 1
    assert "which has none of its model: name the one with --model-repo" in capsys.readouterr().err
    assert list(tmp_path.glob("*.parquet")) == []


def test_unknown_and_empty_collections_are_named(
    data_dir: Path, model_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def work(store: SqliteStore, files: ImageFiles) -> None:
        await store.catalogue.create("empty", "original", "any", REF)

    change(data_dir, work)
    places = ["--data-dir", str(data_dir), "--model-repo", str(model_repo)]
    for name, complaint in {
        "absent": "no collection named 'absent'; there is: empty, pets",
        "empty": "collection 'empty' holds no vectors",
    }.items():
        assert main(["collections", "export", name, str(tmp_path / "x.parquet"), *places]) == 1
        assert complaint in capsys.readouterr().err


def test_file_that_is_there_is_kept_unless_it_may_be_overwritten(
    data_dir: Path, model_repo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pets.parquet"
    file.write_bytes(b"precious")
    assert export(data_dir, model_repo, file) == 1
    assert f"{file} exists" in capsys.readouterr().err
    assert file.read_bytes() == b"precious"
    assert export(data_dir, model_repo, file, "--overwrite") == 0
    assert len(table(file)["id"]) == 3
    assert export(data_dir, model_repo, tmp_path / "nowhere" / "pets.parquet") == 1
    assert "the export failed" in capsys.readouterr().err


def heading(dim: int = 4) -> Heading:
    return Heading(COLLECTION, MAKER, "0" * 64, dim)


def row(n: int, image: bytes | None = None, dim: int = 4) -> Row:
    embedding = None if n % 5 == 4 else np.full(dim, n, np.float32)
    return Row(
        f"i{n}", "0" * 64, "image/png", n, n, json.dumps({"n": n}), "2026-11-25T14:03:11.482+00:00",
        embedding, image,
    )  # fmt: skip


def same(one: Row, other: Row) -> bool:
    vectors = (one.embedding, other.embedding)
    if any(vector is None for vector in vectors):
        return vectors == (None, None) and one == other
    return bool(np.array_equal(*vectors)) and {**vars(one), "embedding": 0} == {**vars(other), "embedding": 0}


@pytest.mark.parametrize("with_images", [False, True])
def test_rows_are_written_in_groups_and_read_back_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_images: bool
) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 100)
    rows = [row(n, image=b"x" * n if with_images and n % 3 else None) for n in range(1234)]
    with ParquetWriter(tmp_path / "rows.parquet", heading(), with_images=with_images) as writer:
        for one in rows:
            writer.add(one)
    assert pq.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 13
    reader = ParquetReader(tmp_path / "rows.parquet")
    assert (reader.n_rows, reader.heading, reader.has_images) == (1234, heading(), with_images)
    batches = list(reader.batches())
    assert max(map(len, batches)) <= 1000
    read = [one for batch in batches for one in batch]
    assert len(read) == len(rows)
    assert all(map(same, read, rows))


def test_files_that_are_no_exports_are_refused_and_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    file.write_bytes(b"no parquet at all")
    with pytest.raises(InvalidValue, match="cannot be read as Parquet"):
        ParquetReader(file)
    pq.write_table(pa.table({"id": ["a"]}), file)
    with pytest.raises(InvalidValue, match="does not name the model of its vectors"):
        ParquetReader(file)
    about = {"format": 1, "collection": "pets", "maker": vars(MAKER), "identity": "0", "embed_dim": 4}
    for changed, complaint in {
        "newer": "has format 2, this version of diptych knows up to 1",
        "lacking": "has no column sha256 of string",
    }.items():
        spoken = json.dumps(about | ({"format": 2} if changed == "newer" else {}))
        pq.write_table(pa.table({"id": ["a"]}).replace_schema_metadata({"diptych": spoken}), file)
        with pytest.raises(InvalidValue, match=complaint):
            ParquetReader(file)


def test_without_pyarrow_the_command_says_what_to_install_and_all_others_work(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "class No:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'pyarrow': raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, No())\n"
        "from diptych.cli import main\n"
        "assert main(['backup', sys.argv[1] + '/b', '--data-dir', sys.argv[1] + '/d']) == 1\n"
        "sys.exit(main(['collections', 'export', 'pets', 'pets.parquet']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "is not a data folder" in done.stderr.splitlines()[0]
    assert (
        "Parquet files need pyarrow, which is not installed here: pip install" in done.stderr.splitlines()[1]
    )
