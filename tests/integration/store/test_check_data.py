"""`diptych check --data-dir`: damage is found, named, and left as it is."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from diptych.adapters.files.data_lock import DataLock
from diptych.adapters.sqlite.store import DATABASE, SqliteStore
from diptych.cli import main
from diptych.core.collections.stored.ids import sha256_of
from diptych.errors import CorruptStore
from integration.backup_parts import flip, image
from integration.data_folders import add

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


def lost_page(data_dir: Path) -> None:
    """A disk has lost one."""
    overwrite(data_dir, last_leaf(data_dir, INDEX), 0, bytes(PAGE))


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


@pytest.mark.parametrize("damage", [other_entries, fewer_entries, lost_page])
def test_damaged_structure_is_named_by_the_start_and_the_check_and_left_as_it_is(
    data_dir: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    damage(data_dir)
    before = content(data_dir)
    with pytest.raises(CorruptStore, match=r"the database is damaged: .* restored with `diptych restore`"):
        SqliteStore(data_dir)
    assert main(["check", "--data-dir", str(data_dir)]) == 1
    told = capsys.readouterr().err
    assert "the database is damaged" in told
    assert told.count("\n") == 1
    assert content(data_dir) == before


@pytest.mark.parametrize("change", [-104, 0, 1_000])
def test_vector_of_a_change_that_never_was_is_named_by_the_check(
    data_dir: Path, capsys: pytest.CaptureFixture[str], change: int
) -> None:
    run(data_dir, f"UPDATE embeddings SET change = {change} WHERE key = 9")
    assert main(["check", "--data-dir", str(data_dir)]) == 1
    assert "pets/pet8: its vector is damaged\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM words_1 WHERE rowid = 2",
        "INSERT INTO words_1 (rowid, name) VALUES (999, 'x')",
        "UPDATE words_1_content SET c0 = 'other' WHERE id = 2",
    ],
)
def test_index_of_words_that_disagrees_with_the_rows_is_named_by_the_check_and_made_again_by_a_start(
    data_dir: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    check = ["check", "--data-dir", str(data_dir)]
    run(data_dir, damage)
    assert main(check) == 1
    told = capsys.readouterr()
    assert told.out == f"{data_dir}: damaged\n"
    said = "pets: the index of its words is damaged (the next start of a server makes it again)\n"
    assert told.err == said
    SqliteStore(data_dir).close_now()
    assert main(check) == 0


def test_image_that_is_indexed_with_other_words_is_named_until_it_is_added_again(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ["check", "--data-dir", str(data_dir)]
    run(data_dir, "UPDATE words_1 SET name = 'other' WHERE rowid = 2")
    assert main(check) == 1
    assert capsys.readouterr().err.splitlines() == [
        "images damaged in the database: 1 (delete and add them again)",
        "pets/pet1: its words are not those of its row",
    ]
    add(data_dir, {"pet1": b"new"})
    assert main(check) == 0


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
            "images without their file: 2 (add them again with `diptych add --send-all`)",
            f"pets/pet9: {nine} is damaged",
            f"pets/pet5: {five} is missing",
            "images damaged in the database: 2 (delete and add them again)",
            "pets/pet7: its row is damaged",
            "pets/pet8: its vector is damaged",
        ]
    )


def test_a_folder_that_is_served_is_checked(data_dir: Path) -> None:
    with closing(DataLock(data_dir)):
        assert main(["check", "--data-dir", str(data_dir)]) == 0


def test_a_folder_without_a_database_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--data-dir", str(tmp_path / "none")]) == 1
    assert "is not a data folder" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
