"""Keep what was just allocated in huge pages, where the system has them. Knows nothing of what it holds."""

import ctypes
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

KERNEL = Path("/sys/kernel/mm/transparent_hugepage")
MAPPINGS = Path("/proc/self/maps")
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25  # the second since Linux 6.1
# Memory of our own that no file stands behind: private, writable, of no inode, and nameless or malloc's.
_OURS = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p [0-9a-f]+ [0-9a-f:]+ 0\s*(?:\[heap\]|\[anon:.*)?")

Range = tuple[int, int]  # of addresses, the second one behind the end


@contextmanager
def huge_pages(kernel: Path = KERNEL, mappings: Path = MAPPINGS) -> Iterator[None]:
    """Memory that the block takes and keeps: large parts of it move into huge pages when it ends.

    A batch reads all weights once. In pages of 4 KiB a model of 350 MB has 90,000 of them, and the processor
    remembers the places of some 2,000. Moving takes a second a gigabyte, in steps for which threads that
    need a new page wait; what is not moved stays as it was. Before Linux 6.1 the system does it by itself
    over the next minutes. Nothing is done where the machine's owner has turned huge pages off, or where the
    system does not tell a process of its memory.
    """
    page = _page_bytes(kernel)
    former = _ours(mappings) if page else []
    yield
    for start, end in _without(_ours(mappings), former) if page else ():
        first, last = -(-start // page) * page, end // page * page
        if first < last:
            _advise(first, last - first)


def _page_bytes(kernel: Path) -> int:
    """Of a huge page; 0 where there are none."""
    try:
        if "[never]" in (kernel / "enabled").read_text():
            return 0
        return int((kernel / "hpage_pmd_size").read_text())
    except (OSError, ValueError):
        return 0


def _ours(mappings: Path) -> list[Range]:
    """In the order of their addresses."""
    try:
        lines = mappings.read_text(errors="replace").splitlines()  # names of files may be in any encoding
    except OSError:
        return []
    return [(int(match[1], 16), int(match[2], 16)) for match in map(_OURS.fullmatch, lines) if match]


def _without(ranges: Iterable[Range], former: Iterable[Range]) -> Iterator[Range]:
    """What lies in `ranges` and in none of `former`; both in order."""
    former = list(former)
    for start, end in ranges:
        at = start
        for taken, free in former:
            if taken < end and at < free:
                if at < taken:
                    yield at, taken
                at = free
        if at < end:
            yield at, end


def _advise(start: int, n_bytes: int) -> None:
    """Refusals are left as they are: they tell of pages that could not be moved."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for advice in (MADV_HUGEPAGE, MADV_COLLAPSE):
        madvise(start, n_bytes, advice)
