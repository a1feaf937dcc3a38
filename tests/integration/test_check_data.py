"""`diptych check --data-dir`: damage is found, damaged indexes are built anew, and all else left as it is."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from diptych.adapters.data_lock import DataLock
from diptych.adapters.sqlite_store import DATABASE, SqliteStore
from diptych.cli import main
from diptych.core.names import sha256_of
from diptych.errors import CorruptStore
from integration.backup_parts import flip, image
from integration.data_folders import add, contents

PETS = {f"pet{n}": b"x" * (n + 1) for n in range(300)}
INDEX = "images_by_sha256"
PAGE = 4096


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    add(tmp_path / "data", PETS)
    return tmp_path / "data"


def content(data_dir: Path) -> bytes:
    return (data_dir / DATABASE).read_bytes()


def run(data_dir: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data_dir / DATABASE, isolation_level=None)) as db:
        db.execute("PRAGMA foreign_keys = ON")
        for statement in statements:
            db.execute(statement)


def other_entries(data_dir: Path) -> None:
    """All that the index has is of another column."""
    run(
        data_dir,
        f"DROP INDEX {INDEX}",
        f"CREATE INDEX {INDEX} ON images (id)",
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_schema SET sql = 'CREATE INDEX {INDEX} ON images (sha256)' WHERE name = '{INDEX}'",
    )


def fewer_entries(data_dir: Path) -> None:
    """The index lacks some rows."""
    run(
        data_dir,
        f"DROP INDEX {INDEX}",
        f"CREATE INDEX {INDEX} ON images (sha256) WHERE key > 100",
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_schema SET sql = 'CREATE INDEX {INDEX} ON images (sha256)' WHERE name = '{INDEX}'",
    )


def lost_row(data_dir: Path) -> None:
    """The table has lost a row that this index knows of."""
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        query = f"SELECT rootpage, sql FROM sqlite_schema WHERE name = '{INDEX}'"
        page, sql = db.execute(query).fetchone()
    run(data_dir, "PRAGMA writable_schema = ON", f"DELETE FROM sqlite_schema WHERE name = '{INDEX}'")
    run(data_dir, "DELETE FROM images WHERE key = 7")
    row = f"'index', '{INDEX}', 'images', {page}, '{sql}'"
    run(data_dir, "PRAGMA writable_schema = ON", f"INSERT INTO sqlite_schema VALUES ({row})")


def lost_page(data_dir: Path) -> None:
    """As a disk loses one."""
    whole = bytearray(content(data_dir))
    middle = len(whole) // 2 // PAGE * PAGE
    whole[middle : middle + PAGE] = bytes(PAGE)
    (data_dir / DATABASE).write_bytes(whole)


def root_page(data_dir: Path, index: str) -> int:
    with closing(sqlite3.connect(data_dir / DATABASE)) as db:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        return int(db.execute(query, (index,)).fetchone()[0])


def overwrite(data_dir: Path, page: int, offset: int, payload: bytes) -> None:
    with (data_dir / DATABASE).open("r+b") as file:
        file.seek((page - 1) * PAGE + offset)
        file.write(payload)


def last_leaf(data_dir: Path, index: str) -> int:
    """The page at the right end of its tree, whose inner pages are of type 2."""
    whole, page = content(data_dir), root_page(data_dir, index)
    assert whole[(page - 1) * PAGE] == 2  # there are several pages
    while whole[(page - 1) * PAGE] == 2:
        page = int.from_bytes(whole[(page - 1) * PAGE + 8 :][:4])
    return page


def second_half_lost(data_dir: Path, index: str) -> None:
    overwrite(data_dir, last_leaf(data_dir, index), PAGE // 2, bytes(PAGE // 2))


def sector_lost(data_dir: Path, index: str) -> None:
    overwrite(data_dir, last_leaf(data_dir, index), 1024, bytes(512))


def end_lost(data_dir: Path, index: str) -> None:
    overwrite(data_dir, last_leaf(data_dir, index), PAGE - 512, bytes(512))


def header_flipped(data_dir: Path, index: str) -> None:
    """The number of bytes between its cells."""
    overwrite(data_dir, last_leaf(data_dir, index), 7, b"\x80")


def more_cells(data_dir: Path, index: str) -> None:
    """The page says that it has 128 more entries than are there, or fewer."""
    page = last_leaf(data_dir, index)
    overwrite(data_dir, page, 4, bytes([content(data_dir)[(page - 1) * PAGE + 4] ^ 0x80]))


def root_one_short(data_dir: Path, index: str) -> None:
    """A page of the tree is reached from nowhere."""
    root = root_page(data_dir, index)
    n_cells = int.from_bytes(content(data_dir)[(root - 1) * PAGE + 3 :][:2])
    overwrite(data_dir, root, 3, (n_cells - 1).to_bytes(2))


def lost_leaf(data_dir: Path) -> None:
    """All indexes know of the rows on a page of the table that is reached from nowhere."""
    root_one_short(data_dir, "images")


@pytest.mark.parametrize("index", [INDEX, "sqlite_autoindex_images_1"])
@pytest.mark.parametrize(
    "damage", [second_half_lost, sector_lost, end_lost, header_flipped, more_cells, root_one_short]
)
def test_a_damaged_page_of_an_index_is_mended_by_the_command_that_the_start_names(
    data_dir: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path, str], None], index: str
) -> None:
    damage(data_dir, index)
    with pytest.raises(
        CorruptStore, match=rf"`diptych check --data-dir {data_dir} --repair` builds .*restore"
    ):
        SqliteStore(data_dir)
    assert main(["check", "--data-dir", str(data_dir)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["check", "--data-dir", str(data_dir), "--repair"]) == 0
    assert index in capsys.readouterr().out
    assert main(["check", "--data-dir", str(data_dir)]) == 0
    assert contents(data_dir) == PETS


def test_a_page_that_a_table_has_lost_is_not_cleared_away(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No index knows of all rows of this table."""
    rows = [f"INSERT INTO job_items (job, number, at, n_bytes) VALUES ('a', {n}, 0, 0)" for n in range(999)]
    job = "INSERT INTO jobs VALUES ('a', 'pets', 0, 'running', 999, '', NULL, '')"
    run(data_dir, job, *rows, "DROP INDEX job_items_to_do")
    root_one_short(data_dir, "job_items")
    overwrite(data_dir, root_page(data_dir, "job_items"), 7, bytes([18]))  # bytes between its cells
    before = content(data_dir)
    assert main(["check", "--data-dir", str(data_dir), "--repair"]) == 1
    assert "never used" in capsys.readouterr().err
    assert content(data_dir) == before


@pytest.mark.parametrize("damage", [other_entries, fewer_entries])
def test_a_damaged_index_is_built_anew_by_the_command_that_the_start_names(
    data_dir: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    damage(data_dir)
    with pytest.raises(CorruptStore, match=rf"`diptych check --data-dir {data_dir} --repair` builds them"):
        SqliteStore(data_dir)
    assert main(["check", "--data-dir", str(data_dir)]) == 1
    assert f"index {INDEX}; where no more than indexes is" in capsys.readouterr().err
    assert main(["check", "--data-dir", str(data_dir), "--repair"]) == 0
    assert f"indexes built anew: {INDEX}\n" in capsys.readouterr().out
    assert main(["check", "--data-dir", str(data_dir)]) == 0
    assert contents(data_dir) == PETS


def test_a_sound_database_is_left_as_it_is(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(data_dir)
    assert main(["check", "--data-dir", str(data_dir), "--repair"]) == 0
    assert "no index was damaged" in capsys.readouterr().out
    assert content(data_dir) == before


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lost_row, "table images has 299 rows, its index images_by_sha256 knows of 300"),
        (lost_leaf, "table images has 2"),
        (lost_page, ""),
    ],
)
def test_damage_beyond_indexes_is_refused_and_nothing_changed(
    data_dir: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None], why: str
) -> None:
    damage(data_dir)
    before = content(data_dir)
    assert main(["check", "--data-dir", str(data_dir), "--repair"]) == 1
    said = capsys.readouterr().err
    assert f"the database is damaged: {why}" in said
    assert "a backup can be restored with `diptych restore`" in said
    assert content(data_dir) == before


def test_every_row_vector_and_file_is_compared_with_its_checksum(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ["check", "--data-dir", str(data_dir)]
    assert main(check) == 0
    assert capsys.readouterr().out == f"{data_dir}: sound\n"
    run(
        data_dir,
        "UPDATE images SET width = width + 1 WHERE id = 'pet7'",
        "UPDATE embeddings SET embedding = zeroblob(16) WHERE key = 9",
    )
    flip(image(data_dir, PETS["pet9"]))
    image(data_dir, PETS["pet5"]).unlink()
    assert main(check) == 1
    told = capsys.readouterr()
    assert told.out == f"{data_dir}: damaged\n"
    nine, five = sha256_of(PETS["pet9"]), sha256_of(PETS["pet5"])
    assert sorted(told.err.splitlines()) == sorted(
        [
            "images without their file: 2 (add them again, with `diptych add --send-all`)",
            f"pets/pet9: {nine} is damaged",
            f"pets/pet5: {five} is missing",
            "images damaged in the database: 2 (delete and add them again)",
            "pets/pet7: its row is damaged",
            "pets/pet8: its vector is damaged",
        ]
    )


def test_a_folder_that_is_served_is_checked_and_not_repaired(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = DataLock(data_dir)
    assert main(["check", "--data-dir", str(data_dir)]) == 0
    assert main(["check", "--data-dir", str(data_dir), "--repair"]) == 1
    assert "is in use by process" in capsys.readouterr().err
    lock.close()


def test_a_folder_without_a_database_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in ([], ["--repair"]):
        assert main(["check", "--data-dir", str(tmp_path / "none"), *flags]) == 1
        assert "is no data folder" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("flags", [["--repair"], ["--data-dir", "data", "tiny"]])
def test_flags_of_bundles_and_of_data_folders_do_not_mix(flags: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["check", *flags])
