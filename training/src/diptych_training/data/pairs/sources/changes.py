"""Tell whether files of sources have changed, without reading them; knows nothing of what they hold.

A local file is known by its size and time of change, since a tar's size is a multiple of 10 kB and often
stays; a file at a URL by its size and the tag or time that its server tells. What a server does not tell
counts as unchanged.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from diptych_training.data.pairs.pair import Shard
from diptych_training.data.pairs.remote.retry import is_local
from diptych_training.data.pairs.remote.urls import info_of

WIDTH = 8  # characters that keep one fingerprint
UNKNOWN = "-" * WIDTH
MAX_LOCAL, MAX_REMOTE = 100_000, 1_000  # files that are looked at; of more, as many from all over
N_THREADS = 16  # that ask servers
TAGS = ("ETag", "etag", "md5Hash", "content_md5", "generation", "Last-Modified", "LastModified",
        "last_modified", "updated", "modified", "mtime", "created")  # fmt: skip


def fingerprints(shards: Sequence[Shard]) -> str:
    """WIDTH characters for each set of files that shards are read from, in order."""
    groups = _groups(shards)
    files = list(dict.fromkeys(file for group in groups for file in group))
    local = [file for file in files if is_local(file)]
    remote = [file for file in files if not is_local(file)]
    with ThreadPoolExecutor(N_THREADS, thread_name_prefix="changes") as pool:
        known = _known(_sample(local, MAX_LOCAL), map, _local)
        known |= _known(_sample(remote, MAX_REMOTE), pool.map, told_of)
    return "".join(_of_group(group, known) for group in groups)


def changed_files(shards: Sequence[Shard], before: str, now: str) -> list[str]:
    """Which of the shards' files differ between two fingerprints of the same sources, in words."""
    marks = zip(_groups(shards), _cut(before), _cut(now), strict=True)
    return [_told(group) for group, was, is_ in marks if UNKNOWN not in (was, is_) and was != is_]


def told_of(url: str) -> str | None:
    """Size and tag of a file, as its server tells them. None if it does not: reading says what is wrong."""
    try:
        return mark_of(url)
    except Exception:  # each file system's client has errors of its own
        return None


def mark_of(url: str) -> str:
    """The same. Errors as `urls.info_of`."""
    info = info_of(url)
    tag = next((str(info[key]) for key in TAGS if info.get(key)), "")
    return f"{info.get('size')} {tag}"


def _groups(shards: Sequence[Shard]) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(shard.files for shard in shards))


def _known(
    files: Sequence[str], work_on: Callable[..., Iterable[str | None]], look: Callable[[str], str | None]
) -> dict[str, str | None]:
    return dict(zip(files, work_on(look, files), strict=True))


def _local(file: str) -> str:
    try:
        found = Path(file).stat()
    except OSError:
        return "gone"
    return f"{found.st_size} {found.st_mtime_ns}"


def _sample(files: Sequence[str], n: int) -> Sequence[str]:
    return files[:: -(-len(files) // n) or 1]


def _of_group(group: tuple[str, ...], known: dict[str, str | None]) -> str:
    marks = [known[file] for file in group if file in known]
    told = [mark for mark in marks if mark is not None]
    if not marks or len(told) < len(marks):
        return UNKNOWN
    return sha256("\n".join(told).encode()).hexdigest()[:WIDTH]


def _told(group: tuple[str, ...]) -> str:
    return group[0] if len(group) == 1 else f"one of {len(group)} files from {group[0]} on"


def _cut(marks: str) -> list[str]:
    return [marks[at : at + WIDTH] for at in range(0, len(marks), WIDTH)]
