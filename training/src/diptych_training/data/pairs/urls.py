"""Open what a path or URL names, and find what a pattern names; knows nothing of what is in the files."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
from fsspec.core import url_to_fs

from diptych_training.data.pairs.patience import is_local, patiently, reason_of
from diptych_training.errors import DataError

MAX_NAMES = 1_000_000  # that one pattern may stand for
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_QUERY = re.compile(r"\?[\w.~%+-]+=")  # where a `?` without it may be a wildcard
REMOTE = "pip install 'diptych-training[remote]'"
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
    fs, path = file_system(url)
    return bool(_asked(url, lambda: fs.isdir(path)))


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


def file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path in it. DataError if no installed library knows it."""
    return _asked(url, lambda: cast(tuple[Any, str], url_to_fs(url)))


def open_url(url: str) -> BinaryIO:
    """A file to read from its start. DataError if it is not there, or no installed library knows the URL."""
    if is_local(url):
        return _asked(url, lambda: Path(url).open("rb"))
    return cast(BinaryIO, _asked(url, lambda: fsspec.open(url, "rb").open()))


def read_url(url: str, max_bytes: int) -> bytes:
    """A whole file. ValueError, with the reason, if it is not there or larger than the limit."""

    def read() -> bytes:
        with open_url(url) as file:
            return file.read(max_bytes + 1)

    try:
        payload = patiently(url, read)
    except DataError as error:
        raise ValueError(str(error).removeprefix(f"{url}: ")) from error
    if len(payload) > max_bytes:
        raise ValueError(f"has more than {max_bytes} bytes, the limit")
    return payload


def exists(url: str) -> bool:
    """Whether a file is there."""
    if is_local(url):
        return Path(url).is_file()
    fs, path = file_system(url)
    return bool(_asked(url, lambda: fs.isfile(path)))


def files_under(url: str) -> list[str]:
    """The names of all files below a folder, relative to it, in order; hidden ones are left out."""
    if is_local(url):
        return sorted(_walk(url))
    fs, root = file_system(url)
    found = _asked(url, lambda: fs.find(root))
    names = (name.removeprefix(root).lstrip("/") for name in found)
    return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))


def _asked(url: str, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except FileNotFoundError as error:
        raise DataError(f"{url}: no such file") from error
    except (IsADirectoryError, PermissionError, NotADirectoryError) as error:
        raise DataError(f"{url}: {reason_of(error)}") from error
    except ImportError as error:  # the library for such URLs is not installed
        hint = REMOTE if is_web(url) else "it is none of this package's extras"
        raise DataError(f"{url}: {error}: {hint}") from error
    except ValueError as error:  # no such protocol
        raise DataError(f"{url}: {error}") from error


def _globbed(name: str) -> list[str]:
    if not any(sign in without_query(name) for sign in "*?["):
        return [name]
    if is_local(name) and Path(name).exists():  # a name that looks like a pattern
        return [name]
    fs, path = file_system(name)
    found = sorted(str(one) for one in _asked(name, lambda: fs.glob(path)))
    if not found:
        raise DataError(f"{name} matches no file")
    if is_local(name):
        return found if Path(name).is_absolute() else [os.path.relpath(one) for one in found]
    return [fs.unstrip_protocol(one) for one in found]


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
