"""Read lists of pairs to exclude, by name."""

from collections.abc import Iterable, Set
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

from diptych_training.data.pairs.pair import Shard
from diptych_training.errors import DataError


def read_excluded(files: Iterable[str]) -> frozenset[str]:
    """Names in the first column of tab-separated files with a header line; they need not be UTF-8.

    Raises DataError, which names the file.
    """
    return frozenset(name for file in files for name in _names(Path(file)))


def digest_of(excluded: Set[str]) -> str:
    """A hash of a set of names, 12 characters."""
    return sha256("\n".join(sorted(excluded)).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def require_matching_sources(excluded: Set[str], shards: Iterable[Shard]) -> None:
    """Raise DataError if there are names to exclude and none belongs to these sources."""
    prefixes = {shard.prefix: None for shard in shards}
    if excluded and not any(prefix in prefixes for name in excluded for prefix in _prefixes(name)):
        raise DataError(
            f"none of the {len(excluded):,} names of pairs to exclude belongs to these sources: one is "
            f"{min(excluded)!r}, the sources' names begin with '{next(iter(prefixes))}:'; a list is valid "
            "only for the sources that were compared, in folders of the same names"
        )


def _prefixes(name: str) -> Iterable[str]:
    """All possible prefixes of a name: its parts before each colon."""
    return accumulate(name.split(":")[:-1], lambda one, other: f"{one}:{other}")


def _names(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except FileNotFoundError:
        raise DataError(f"{file}: no such file of excluded pairs") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    if lines[0].split("\t")[0] != "name":
        raise DataError(f"{file}: the first line must be a header that begins with 'name'")
    return [line.split("\t")[0] for line in lines[1:] if line]
