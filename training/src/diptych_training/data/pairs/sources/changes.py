"""Detect changes of source files without reading them.

The fingerprint of a local file is its size and modification time (a tar's size is a multiple of 10 kB, and
often stays the same), that of a remote file its size and the tag or time that the server states. A file whose
server states nothing counts as unchanged.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from diptych_training.data.pairs.pair import Shard
from diptych_training.data.pairs.remote.retry import is_local
from diptych_training.data.pairs.remote.urls import info_of

WIDTH = 8  # characters of a fingerprint
UNKNOWN = "-" * WIDTH
MAX_LOCAL, MAX_REMOTE = 100_000, 1_000  # maximum files checked; of more, an even sample
N_THREADS = 16  # for requests to servers
TAGS = ("ETag", "etag", "md5Hash", "content_md5", "generation", "Last-Modified", "LastModified",
        "last_modified", "updated", "modified", "mtime", "created")  # fmt: skip


def fingerprints(shards: Sequence[Shard]) -> str:
    """Fingerprints of the shards' sets of files, WIDTH characters each, in order."""
    groups = _groups(shards)
    files = list(dict.fromkeys(file for group in groups for file in group))
    local = [file for file in files if is_local(file)]
    remote = [file for file in files if not is_local(file)]
    with ThreadPoolExecutor(N_THREADS, thread_name_prefix="changes") as pool:
        known = _known(_sample(local, MAX_LOCAL), map, _local)
        known |= _known(_sample(remote, MAX_REMOTE), pool.map, file_tag_or_none)
    return "".join(_of_group(group, known) for group in groups)


def changed_files(shards: Sequence[Shard], before: str, now: str) -> list[str]:
    """Descriptions of the files that differ between two fingerprints of the same sources."""
    marks = zip(_groups(shards), _split_fingerprints(before), _split_fingerprints(now), strict=True)
    return [_describe_group(group) for group, was, is_ in marks if UNKNOWN not in (was, is_) and was != is_]


def file_tag_or_none(url: str) -> str | None:
    """Size and tag of a remote file; None if its server fails, since reading will report the reason."""
    try:
        return file_tag(url)
    except Exception:  # each file system's client has errors of its own
        return None


def file_tag(url: str) -> str:
    """Size and tag of a remote file. Errors as in `urls.info_of`."""
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
    found = [mark for mark in marks if mark is not None]
    if not marks or len(found) < len(marks):
        return UNKNOWN
    return sha256("\n".join(found).encode()).hexdigest()[:WIDTH]


def _describe_group(group: tuple[str, ...]) -> str:
    return group[0] if len(group) == 1 else f"one of {len(group)} files from {group[0]} on"


def _split_fingerprints(marks: str) -> list[str]:
    return [marks[at : at + WIDTH] for at in range(0, len(marks), WIDTH)]
