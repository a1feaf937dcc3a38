"""Large memory moves into huge pages: that of a block alone, and only where the system has them."""

import mmap
import platform
import re
import sys
from pathlib import Path

import pytest

from diptych.adapters.huge_pages import KERNEL, _ours, _without, huge_pages

MIB = 1 << 20
SIZE = 16 * MIB


def _can_move() -> bool:
    """Whether the system has huge pages, and moves memory into them when it is told to."""
    if sys.platform != "linux" or not (KERNEL / "enabled").exists():
        return False
    release = tuple(map(int, platform.release().split(".")[:2]))
    return "[never]" not in (KERNEL / "enabled").read_text() and release >= (6, 1)


has_huge_pages = pytest.mark.skipif(not _can_move(), reason="needs Linux 6.1 with its huge pages")


@pytest.fixture
def turned_off(tmp_path: Path) -> Path:
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    (tmp_path / "hpage_pmd_size").write_text(str(2 * MIB))
    return tmp_path


def _taken() -> mmap.mmap:
    """Zeros, every page of them written, in small pages."""
    taken = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    taken.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, SIZE, mmap.PAGESIZE):
        taken[at] = 7
    return taken


def _huge_bytes() -> int:
    """Of this process."""
    found = re.search(
        r"^AnonHugePages:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE
    )
    assert found is not None
    return 1024 * int(found[1])


@has_huge_pages
def test_what_a_block_takes_is_in_huge_pages_after_it_and_says_the_same() -> None:
    before = _huge_bytes()
    with huge_pages():
        taken = _taken()
        within = _huge_bytes()
    after = _huge_bytes()
    assert within - before < 2 * MIB
    assert after - before >= SIZE - 4 * MIB  # its ends may lie within one
    assert all(taken[at] == 7 for at in range(0, SIZE, mmap.PAGESIZE))
    assert taken[1] == 0


@has_huge_pages
def test_what_was_there_before_stays_where_it_is() -> None:
    former = _taken()
    before = _huge_bytes()
    with huge_pages():
        pass
    assert _huge_bytes() - before < 2 * MIB
    assert former[0] == 7


@has_huge_pages
def test_nothing_is_moved_where_they_are_turned_off(turned_off: Path) -> None:
    before = _huge_bytes()
    with huge_pages(turned_off):
        taken = _taken()
    assert _huge_bytes() - before < 2 * MIB
    assert taken[0] == 7


def test_a_system_that_knows_none_is_left_alone(tmp_path: Path) -> None:
    with huge_pages(tmp_path / "missing"):
        pass


def test_files_with_names_in_another_encoding_are_passed_over(tmp_path: Path) -> None:
    mappings = tmp_path / "maps"
    mappings.write_bytes(
        b"1000-3000 rw-p 00000000 00:00 0 \n"
        b"4000-5000 rw-p 00000000 08:01 77 /models/caf\xe9.onnx\n"
        b"6000-7000 rw-p 00000000 00:00 0                          [heap]\n"
        b"8000-9000 r--p 00000000 00:00 0 \n"
    )
    assert _ours(mappings) == [(0x1000, 0x3000), (0x6000, 0x7000)]


@has_huge_pages
def test_memory_that_the_system_does_not_tell_of_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    (tmp_path / "hpage_pmd_size").write_text(str(2 * MIB))
    before = _huge_bytes()
    with huge_pages(tmp_path, tmp_path / "missing"):
        taken = _taken()
    assert taken[0] == 7
    assert _huge_bytes() - before < 2 * MIB


def test_an_error_of_the_block_is_its_own() -> None:
    with pytest.raises(ValueError, match="does not load"), huge_pages():
        raise ValueError("does not load")


@pytest.mark.parametrize(
    ("former", "new"),
    [
        ([], [(10, 20), (30, 40)]),
        ([(10, 20)], [(30, 40)]),
        ([(10, 40)], []),
        ([(12, 15)], [(10, 12), (15, 20), (30, 40)]),
        ([(0, 12), (18, 32), (35, 36), (39, 50)], [(12, 18), (32, 35), (36, 39)]),
    ],
)
def test_of_ranges_that_grew_only_what_was_added_is_new(
    former: list[tuple[int, int]], new: list[tuple[int, int]]
) -> None:
    assert list(_without([(10, 20), (30, 40)], former)) == new
