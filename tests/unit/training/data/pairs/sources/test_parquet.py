"""Parquet files of paths or of images: what is read, and what damage costs."""

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from diptych_training.data.pairs.pair import Unusable
from diptych_training.data.pairs.sources import parquet
from diptych_training.data.pairs.sources.find import SourceReader
from diptych_training.data.pairs.sources.parquet import BATCH_ROWS
from diptych_training.errors import DataError
from support.pair_files import picture, write_files
from support.pair_reading import captions, read, things, write_parquet


def test_parquet_files_hold_paths_or_the_images_themselves(tmp_path):
    write_files(tmp_path, {f"{number}.png": picture(number) for number in range(10)})
    paths = {"path": [f"{number}.png" for number in range(10)], "caption": things(10)}
    embedded = {
        "image": [picture(number) for number in range(10)],
        "text": [[text, "more"] for text in things(10)],
    }
    nested = {"image": [{"bytes": picture(n), "path": None} for n in range(10)], "caption": things(10)}
    for number, columns in enumerate((paths, embedded, nested)):
        entries = read(write_parquet(tmp_path / f"{number}.parquet", columns))
        assert captions(entries) == things(10)
        assert [entry.image for entry in entries] == [picture(n) for n in range(10)]
    assert entries[9].name == f"{tmp_path.name}/2.parquet:9"


def test_a_damaged_page_of_a_parquet_file_loses_the_rest_of_its_group_and_no_more(tmp_path):
    n = 4 * BATCH_ROWS
    columns = {"image": [picture(number) for number in range(n)], "caption": things(n)}
    file = tmp_path / "p.parquet"
    pq.write_table(
        pa.table(columns), file, row_group_size=2 * BATCH_ROWS, use_dictionary=False, write_page_checksum=True
    )
    column = pq.ParquetFile(file).metadata.row_group(0).column(1)
    content = bytearray(file.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 255
    file.write_bytes(content)
    found = read(file)
    lost, others = found[: 2 * BATCH_ROWS], found[2 * BATCH_ROWS :]
    assert {entry.name for entry in lost} == {f"{tmp_path.name}/p.parquet:row group 0"}
    assert all("row 0 cannot be read, and the rest of the group is lost: " in entry.reason for entry in lost)
    assert captions(others) == things(n)[2 * BATCH_ROWS :]


def test_every_row_that_damage_costs_is_an_entry_wherever_the_group_is_entered(tmp_path, monkeypatch):
    n = 3 * BATCH_ROWS + 5
    columns = {"image": [picture(number) for number in range(n)], "caption": things(n)}
    (shard,) = SourceReader().shards([str(write_parquet(tmp_path / "p.parquet", columns, n))])
    whole = list(shard.entries())

    sound = pq.ParquetFile.iter_batches

    def damaged(*given: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        yield next(sound(*given, **options))
        raise OSError("bad page")

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", damaged)
    found = list(shard.entries())
    assert found[:BATCH_ROWS] == whole[:BATCH_ROWS]
    assert len(found) == n
    assert {entry.reason for entry in found[BATCH_ROWS:] if isinstance(entry, Unusable)} == {
        f"row {BATCH_ROWS} cannot be read, and the rest of the group is lost: bad page"
    }
    for start in (0, 1, 63, 64, 70, n - 1, n):
        for step in (1, 3, 8, 64):
            assert list(shard.entries(start, step)) == found[start::step]


def test_a_server_that_fails_in_a_parquet_file_is_an_error_and_no_damage(tmp_path, monkeypatch):
    large = [bytes([number]) * 200_000 for number in range(4)]
    pq.write_table(
        pa.table({"image": large, "caption": things(4)}), tmp_path / "p.parquet", compression="none"
    )
    file = tmp_path / "p.parquet"
    (shard,) = SourceReader().shards([str(file)])
    reader = io.BytesIO(file.read_bytes())
    n_left = 1  # of the footer

    def read_or_fail(n_bytes: int = -1) -> bytes:
        nonlocal n_left
        n_left -= 1
        if n_left < 0:
            raise ConnectionError("reset by peer")
        return io.BytesIO.read(reader, n_bytes)

    monkeypatch.setattr(
        parquet, "open_url", lambda url: contextlib.nullcontext(Scripted(reader, read_or_fail))
    )
    with pytest.raises(DataError, match=r"p\.parquet: cannot be read: reset by peer"):
        list(shard.entries())


class Scripted:
    """A file whose `read` is another's."""

    def __init__(self, file: io.BytesIO, read: Callable[[int], bytes]) -> None:
        self.read, self.seek, self.tell = read, file.seek, file.tell


def test_what_is_no_parquet_file_is_an_error(tmp_path):
    (tmp_path / "p.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"p\.parquet: not a Parquet file"):
        read(tmp_path / "p.parquet")
