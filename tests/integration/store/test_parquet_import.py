"""Exported files into a real server: whole collections, vectors alone, and never vectors of another model."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych.adapters import parquet
from diptych.adapters.parquet import ParquetReader, ParquetWriter
from diptych.cli import main
from diptych.core.transfer import Row
from diptych_client import Client
from integration.store_parts import tiny_png
from support.server import RunningServer, serve
from support.tiny_bundle import TINY

N = 70  # more than one batch of images


Ran = tuple[int, str, str]  # exit code, stdout, stderr
Run = Callable[..., Ran]


@pytest.fixture
def diptych(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command, in this process."""
    for name in [name for name in os.environ if name.startswith("DIPTYCH_")]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def data_dir(model_repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(model_repo: Path, data_dir: Path) -> Iterator[RunningServer]:
    with serve(model_repo, TINY, data_dir) as running, Client(running.url) as client:
        client.create_collection("pets")
        client.add(
            [tiny_png(n) for n in range(N)],
            ids=[f"i{n}" for n in range(N)],
            metadata=[{"n": n, "name": "käfer"} for n in range(N)],
            collection="pets",
        )
        yield running


@pytest.fixture(scope="module")
def exported(server: RunningServer, model_repo: Path, data_dir: Path) -> Path:
    """With images, out of the folder of the running server."""
    file = data_dir.parent / "pets.parquet"
    places = ["--data-dir", str(data_dir), "--model-repo", str(model_repo)]
    assert main(["collections", "export", "pets", str(file), "--with-images", *places]) == 0
    return file


@pytest.fixture
def bring_in(server: RunningServer, diptych: Run) -> Run:
    def run(file: Path, *flags: str) -> Ran:
        return diptych("collections", "import", file, "--url", server.url, *flags)

    return run


def test_round_trip_restores_a_collection_whole(server: RunningServer, bring_in: Run, exported: Path) -> None:
    done = bring_in(exported, "--into", "whole")
    assert done == (0, f"whole: {N} created, 0 replaced, 0 unchanged, 0 failed\n", "")
    with Client(server.url) as client:
        records = client.list_images("whole", limit=1000).images
        assert {record.id: record.metadata for record in records} == {
            f"i{n}": {"n": n, "name": "käfer"} for n in range(N)
        }
        assert all(client.original("whole", f"i{n}") == tiny_png(n) for n in range(0, N, 10))
        assert hits(client, "whole") == hits(client, "pets")
    again = bring_in(exported, "--into", "whole")
    assert again == (0, f"whole: 0 created, 0 replaced, {N} unchanged, 0 failed\n", "")


def test_vectors_alone_are_searched_as_the_images_were(
    server: RunningServer, bring_in: Run, exported: Path
) -> None:
    code, said, _ = bring_in(exported, "--into", "vectors", "--vectors-only", "--json")
    assert code == 0
    assert json.loads(said) == {
        "collection": "vectors", "created": N, "replaced": 0, "unchanged": 0, "failed": 0, "not_tried": 0,
        "metadata_differs": 0, "failures": {},
    }  # fmt: skip
    with Client(server.url) as client:
        assert hits(client, "vectors") == hits(client, "pets")
        assert client.get_image("vectors", "i3").metadata == {"n": 3, "name": "käfer"}


def hits(client: Client, collection: str) -> list[tuple[str, float]]:
    found = client.search(image=tiny_png(7), collection=collection, k=N).hits
    return [(hit.id, pytest.approx(hit.cosine, abs=1e-5)) for hit in found]


def test_vectors_of_another_model_of_the_same_name_and_version_are_refused_and_its_images_embedded_again(
    bring_in: Run, exported: Path, tmp_path: Path
) -> None:
    table, other = pq.read_table(exported), tmp_path / "other.parquet"
    about = json.loads(table.schema.metadata[b"diptych"])
    served, about["identity"] = about["identity"], "f" * 64
    pq.write_table(table.replace_schema_metadata({"diptych": json.dumps(about)}), other)
    code, said, complaint = bring_in(other, "--into", "other", "--vectors-only")
    assert (code, said) == (1, f"other: 0 created, 0 replaced, 0 unchanged, 0 failed, {N} not tried\n")
    assert "the vectors are of tiny/1 (fp32, exact decoding, identity ffffffffffff), and this" in complaint
    assert f"keeps those of tiny/1 (fp32, exact decoding, identity {served[:12]})" in complaint
    done = bring_in(other, "--into", "other")
    assert done == (0, f"other: {N} created, 0 replaced, 0 unchanged, 0 failed\n", "")


def damaged(file: Path, column: str, at: int, into: Path) -> Path:
    """A copy with one bit of another value in the pages of a column, `at` bytes behind their beginning."""
    group = pq.read_metadata(file).row_group(0)
    chunks = [group.column(n) for n in range(group.num_columns)]
    (chunk,) = (one for one in chunks if one.path_in_schema.split(".")[0] == column)
    assert at < chunk.total_compressed_size
    content = bytearray(file.read_bytes())
    content[chunk.data_page_offset + at] ^= 8
    into.write_bytes(content)
    return into


def test_vectors_of_a_damaged_page_are_named_and_those_of_other_groups_are_added(
    server: RunningServer, bring_in: Run, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 40)
    reader, whole = ParquetReader(exported), tmp_path / "whole.parquet"
    with ParquetWriter(whole, reader.heading, with_images=False) as writer:
        for row in (row for rows in reader.batches() for row in rows):
            assert isinstance(row, Row)
            writer.add(row)
    n_bytes = pq.read_metadata(whole).row_group(0).column(7).total_compressed_size
    bad = damaged(whole, "embedding", n_bytes // 2, tmp_path / "bad.parquet")  # a number in the midst
    code, said, _ = bring_in(bad, "--into", "one_page", "--json")
    told = json.loads(said)
    assert (code, told["created"], told["failed"], told["not_tried"]) == (1, N - 40, 40, 0)
    assert list(told["failures"]) == [f"i{n}" for n in range(40)]
    assert all(why.startswith("the file is damaged there: ") for why in told["failures"].values())
    with Client(server.url) as client:
        assert client.collection("one_page").n_images == N - 40


def test_what_other_programs_write_otherwise_is_read_or_fails_its_row_alone(
    server: RunningServer, bring_in: Run, exported: Path, tmp_path: Path
) -> None:
    table = pq.read_table(exported)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    columns["sha256"] = [None, *[sha256.upper() for sha256 in columns["sha256"][1:]]]
    columns["metadata"][:6] = [
        None, '{"n": ' + "9" * 5_000 + "}", '{"n": ' * 9_000 + "1" + "}" * 9_000, '{"n": NaN}', "[]", "",
    ]  # fmt: skip
    columns["created_at"] = [None, 10**15, *columns["created_at"][2:]]  # nothing, and the year 33,658
    schema = pa.schema([field.with_nullable(True) for field in table.schema], table.schema.metadata)
    pq.write_table(pa.Table.from_pydict(columns, schema=schema), tmp_path / "foreign.parquet")
    code, said, _ = bring_in(tmp_path / "foreign.parquet", "--into", "foreign", "--json")
    told = json.loads(said)
    assert (code, told["created"], told["not_tried"]) == (1, N - 5, 0)
    assert told["failures"] == {
        "i1": "its metadata has an integer of more than 4,300 digits",
        "i2": "its metadata is nested too deeply",
        "i3": "its metadata has a number that JSON does not have: infinity or NaN",
        "i4": "its metadata is not a JSON object",
        "i5": "its metadata is not a JSON object",
    }
    with Client(server.url) as client:
        assert client.get_image("foreign", "i0").metadata == {}


def test_picture_that_is_another_than_its_sha256_is_named_and_the_others_are_added(
    server: RunningServer, bring_in: Run, exported: Path, tmp_path: Path
) -> None:
    table = pq.read_table(exported)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    columns["image"][3] = tiny_png(1_000)
    columns["metadata"][4] = "no json"
    columns["image"][5] = columns["image"][6]
    columns["sha256"][5] = ""  # by another maker
    file = tmp_path / "bad.parquet"
    pq.write_table(pa.Table.from_pydict(columns, schema=table.schema), file)  # without checksums of pages
    code, said, complaints = bring_in(file, "--into", "swapped")
    assert (code, said) == (1, f"swapped: {N - 2} created, 0 replaced, 0 unchanged, 2 failed\n")
    assert complaints.splitlines() == [
        "failed: i3: its image does not match its sha256: the file is damaged there",
        "failed: i4: its metadata is not a JSON object",
    ]
    again = bring_in(file, "--into", "swapped_vectors", "--vectors-only")  # which are as they were
    assert again[1] == f"swapped_vectors: {N - 1} created, 0 replaced, 0 unchanged, 1 failed\n"
