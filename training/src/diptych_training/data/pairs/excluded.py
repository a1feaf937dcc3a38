"""Lists of pairs that are left out, by name; knows nothing of why they are."""

from collections.abc import Iterable, Set
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

from diptych_training.data.pairs.pair import Shard
from diptych_training.errors import DataError


def read_excluded(files: Iterable[str]) -> frozenset[str]:
    """The names in the first columns of tab-separated files whose first line is a heading. Names
    of files need not be UTF-8. DataError that names the file."""
    return frozenset(name for file in files for name in _names(Path(file)))


def digest_of(excluded: Set[str]) -> str:
    """12 characters that tell one set of names from another."""
    return sha256("\n".join(sorted(excluded)).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def refuse_foreign(excluded: Set[str], shards: Iterable[Shard]) -> None:
    """DataError if there are names to leave out, and not one of them is of these sources."""
    prefixes = {shard.prefix: None for shard in shards}
    if excluded and not any(prefix in prefixes for name in excluded for prefix in _prefixes(name)):
        raise DataError(
            f"none of the {len(excluded):,} names of pairs to leave out is of these sources: "
            f"{min(excluded)!r} is one, and theirs begin with '{next(iter(prefixes))}:'; a list holds for "
            "the sources that were compared, in the folders of those names"
        )


def _prefixes(name: str) -> Iterable[str]:
    """All that a name may have before a colon."""
    return accumulate(name.split(":")[:-1], lambda one, other: f"{one}:{other}")


def _names(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except FileNotFoundError:
        raise DataError(f"{file}: no such file of excluded pairs") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    if lines[0].split("\t")[0] != "name":
        raise DataError(f"{file}: its first line must be a heading that begins with 'name'")
    return [line.split("\t")[0] for line in lines[1:] if line]
