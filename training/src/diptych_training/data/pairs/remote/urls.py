"""Open what a path or URL names, and find what a pattern names; knows nothing of what is in the files."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
from fsspec.core import url_to_fs

from diptych_training.data.pairs.remote.retry import (
    Silent,
    is_local,
    patiently,
    patiently_of_many,
    reason_of,
    status_of,
)
from diptych_training.data.pairs.remote.streams import read_up_to
from diptych_training.errors import DataError, NoSuchFile

MAX_NAMES = 1_000_000  # that one pattern may stand for
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_QUERY = re.compile(r"\?[\w.~%+-]+=")  # where a `?` without it may be a wildcard
REMOTE = "pip install 'diptych-training[remote]'"
ABSENT = (404, 410)  # what a web server answers where there is nothing; all else may pass
SILENT = Silent()  # of this process
Result = TypeVar("Result")


def expand(pattern: str) -> list[str]:
    """``part-{000..002}.tar`` and ``{a,b}.csv`` written out; other braces stay. DataError when too many."""
    names = [""]
    end = 0
    for found in _BRACES.finditer(pattern):
        choices = _choices(found[1], pattern)
        if len(names) * len(choices) > MAX_NAMES:
            raise DataError(f"{pattern} stands for more than {MAX_NAMES} files")
        before = pattern[end : found.start()]
        names = [f"{name}{before}{choice}" for name in names for choice in choices]
        end = found.end()
    return [f"{name}{pattern[end:]}" for name in names]


def find(pattern: str) -> list[str]:
    """What a path, a URL, or a pattern with braces and wildcards names, in order. DataError if nothing."""
    return [name for one in expand(pattern) for name in _globbed(one)]


def is_folder(url: str) -> bool:
    """Whether it is a folder that exists."""
    if is_local(url):
        return Path(url).is_dir()
    return _of_server(url, lambda fs, path: bool(fs.isdir(path)))


def join(root: str, path: str) -> str:
    """Where `path` leads from the folder `root`, unless it says so by itself."""
    if not is_local(path) or path.startswith("/") or not root:
        return path
    return f"{root.rstrip('/')}/{path}"


def folder_of(url: str) -> str:
    """The folder that a file lies in."""
    return without_query(url).rpartition("/")[0] or ("/" if url.startswith("/") else ".")


def without_query(url: str) -> str:
    """A URL without what a server is told besides (a signature, a version). A `?` in other names stays."""
    if is_local(url):
        return url
    if is_web(url):
        return url.partition("?")[0]
    found = _QUERY.search(url)
    return url if found is None else url[: found.start()]


def is_web(url: str) -> bool:
    """Whether a web server is asked for it."""
    return "http://" in url or "https://" in url


def name_of(url: str) -> str:
    """The last part of a path or URL, without a query; of a file in an archive, its own."""
    if is_local(url):
        return PurePosixPath(url).name
    links = [link for link in without_query(url).split("::") if "://" in link]
    return PurePosixPath(links[0].partition("://")[2] if links else url).name


def open_url(url: str) -> BinaryIO:
    """A file to read from its start. DataError if it is not there, or no installed library knows the URL; an
    error of the file system's own if its server fails."""
    if is_local(url):
        return _asked(url, lambda: Path(url).open("rb"))
    return _asked(url, lambda: _of_file_system(url))


def _of_file_system(url: str) -> BinaryIO:
    """Web servers that give no parts of a file, whatever they say, are asked for all of it as it comes."""
    file = fsspec.open(url, "rb").open()
    block = getattr(file, "blocksize", 0)
    is_large = (getattr(file, "size", None) or 0) > block > 0
    if is_large and url.startswith(("http://", "https://")) and not _gives_parts(file):
        file.close()
        file = fsspec.open(url, "rb", block_size=0).open()
    return cast(BinaryIO, file)


def _gives_parts(file: BinaryIO) -> bool:
    """Tried by its last byte: within the first block nobody would notice."""
    file.seek(-1, os.SEEK_END)
    try:
        file.read(1)
    except ValueError:  # fsspec's, of an answer that is the whole file
        return False
    file.seek(0)
    return True


def read_url(url: str, max_bytes: int) -> bytes:
    """A whole file. ValueError, with the reason, if it is not there or larger than the limit."""

    def read() -> bytes:
        with open_url(url) as file:
            return read_up_to(file, max_bytes + 1)

    try:
        payload = patiently_of_many(url, read, SILENT)
    except DataError as error:
        raise ValueError(str(error).removeprefix(f"{url}: ")) from error
    if len(payload) > max_bytes:
        raise ValueError(f"has more than {max_bytes} bytes, the limit")
    return payload


def exists(url: str) -> bool:
    """Whether a file is there. DataError if its server goes on failing."""
    if is_local(url):
        return Path(url).is_file()
    try:
        return _of_server(url, lambda fs, path: bool(_info(fs, path)["type"] == "file"))
    except NoSuchFile:
        return False


def info_of(url: str) -> dict[str, Any]:
    """What a file's server tells of it. DataError and errors as `open_url`."""
    return _asked(url, lambda: _info(*url_to_fs(url)))


def files_under(url: str) -> list[str]:
    """The names of all files below a folder, relative to it, in order; hidden ones are left out."""
    if is_local(url):
        return sorted(_walk(url))
    names = _of_server(url, lambda fs, root: _names_under(fs, root, _strictly(url)))
    return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))


def _of_server(url: str, work: Callable[[Any, str], Result]) -> Result:
    """What `work` makes of fsspec's file system for a URL and the path in it. DataError as `open_url`, and
    when the server goes on failing."""
    return patiently(url, lambda: _asked(url, lambda: work(*url_to_fs(url))))


def _asked(url: str, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except FileNotFoundError as error:
        failure = _failure(error) if is_web(url) else None
        raise failure or NoSuchFile(f"{url}: no such file") from error
    except PermissionError as error:  # a store may forbid what it does not have
        raise NoSuchFile(f"{url}: {reason_of(error)}") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise DataError(f"{url}: {reason_of(error)}") from error
    except ImportError as error:  # the library for such URLs is not installed
        hint = REMOTE if is_web(url) else "it is none of this package's extras"
        raise DataError(f"{url}: {error}: {hint}") from error
    except ValueError as error:  # no such protocol
        raise DataError(f"{url}: {error}") from error
    except Exception as error:
        if status_of(error) in ABSENT:
            raise NoSuchFile(f"{url}: no such file") from error
        raise


def _failure(error: FileNotFoundError) -> Exception | None:
    """What went wrong, since fsspec takes any failure of a web server for a missing file; None if it is one.

    So is what no server can be asked for: asking again is of no use.
    """
    cause = error.__cause__
    if not isinstance(cause, Exception) or isinstance(cause, ValueError) or status_of(cause) in ABSENT:
        return None
    return cause


def _info(fs: Any, path: str) -> dict[str, Any]:
    return cast(dict[str, Any], fs.info(path))


def _names_under(fs: Any, root: str, options: dict[str, Any]) -> list[str]:
    return [name.removeprefix(root).lstrip("/") for name in fs.find(root, **options)]


def _strictly(url: str) -> dict[str, Any]:
    """For listings of web servers, which leave out what they cannot reach unless told otherwise."""
    return {"on_error": _unless_absent} if is_web(url) else {}


def _unless_absent(error: Exception) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _globbed(name: str) -> list[str]:
    if not any(sign in without_query(name) for sign in "*?["):
        return [name]
    if is_local(name) and Path(name).exists():  # a name that looks like a pattern
        return [name]
    found = _of_server(name, lambda fs, path: _matching(fs, path, name))
    if not found:
        raise DataError(f"{name} matches no file")
    if is_local(name):
        return found if Path(name).is_absolute() else [os.path.relpath(one) for one in found]
    return found


def _matching(fs: Any, pattern: str, name: str) -> list[str]:
    found = sorted(str(one) for one in fs.glob(pattern, **_strictly(name)))
    return found if is_local(name) else [fs.unstrip_protocol(one) for one in found]


def _choices(inside: str, pattern: str) -> list[str]:
    numbers = _RANGE.fullmatch(inside)
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        if last < first:
            raise DataError(f"{pattern}: {{{inside}}} counts down")
        if last - first >= MAX_NAMES:
            raise DataError(f"{pattern} stands for more than {MAX_NAMES} files")
        return [str(number).zfill(len(numbers[1])) for number in range(first, last + 1)]
    return inside.split(",") if "," in inside else [f"{{{inside}}}"]


def _walk(root: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(folder, root)
        for name in files:
            if not name.startswith("."):
                yield name if inside == "." else f"{inside}/{name}"
