"""Open and list files at paths and URLs, and expand patterns."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
from fsspec.core import url_to_fs

from diptych_training.data.pairs.remote.retry import (
    UnreachableServers,
    is_local,
    reason_of,
    retry,
    retry_if_reachable,
    status_of,
)
from diptych_training.data.pairs.remote.streams import read_up_to
from diptych_training.errors import DataError, NoSuchFile
from diptych_training.files import open_regular

MAX_NAMES = 1_000_000  # limit for one pattern
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_QUERY = re.compile(r"\?[\w.~%+-]+=")  # a `?` that is not followed by this may be a wildcard
INSTALL_REMOTE = "pip install 'diptych-training[remote]'"
NOT_FOUND_STATUSES = (404, 410)  # other errors may be temporary
UNREACHABLE = UnreachableServers()
Result = TypeVar("Result")


def expand(pattern: str) -> list[str]:
    """Expand ``part-{000..002}.tar`` and ``{a,b}.csv``; other braces stay. DataError if too many."""
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
    """Paths or URLs that match a pattern with braces and wildcards, in order. DataError if there are none.

    A local file or folder whose name is the pattern is that itself, whatever signs are in its name.
    """
    if is_local(pattern) and os.path.exists(pattern):  # noqa: PTH110  Path's fails on long patterns
        return [pattern]
    return [name for one in expand(pattern) for name in _globbed(one)]


def is_folder(url: str) -> bool:
    """True for an existing folder."""
    if is_local(url):
        return Path(url).is_dir()
    return _on_server(url, lambda fs, path: bool(fs.isdir(path)))


def join(root: str, path: str) -> str:
    """Join `path` to the folder `root`, unless `path` is absolute or a URL."""
    if not is_local(path) or path.startswith("/") or not root:
        return path
    return f"{root.rstrip('/')}/{path}"


def folder_of(url: str) -> str:
    """The folder that a file lies in."""
    return without_query(url).rpartition("/")[0] or ("/" if url.startswith("/") else ".")


def without_query(url: str) -> str:
    """A URL without its query (a signature, a version). A `?` in other names stays."""
    if is_local(url):
        return url
    if is_web(url):
        return url.partition("?")[0]
    found = _QUERY.search(url)
    return url if found is None else url[: found.start()]


def is_web(url: str) -> bool:
    """True for a URL of a web server."""
    return "http://" in url or "https://" in url


def name_of(url: str) -> str:
    """The last part of a path or URL, without a query; for a file in an archive, its own name."""
    if is_local(url):
        return PurePosixPath(url).name
    links = [link for link in without_query(url).split("::") if "://" in link]
    return PurePosixPath(links[0].partition("://")[2] if links else url).name


def open_url(url: str) -> BinaryIO:
    """Open a file for reading.

    DataError if there is no such file, it is a device or a pipe, or no installed library supports the URL; an
    error of the file system if its server fails.
    """
    if is_local(url):
        return _translate_errors(url, lambda: open_regular(Path(url)))
    return _translate_errors(url, lambda: _of_file_system(url))


def _of_file_system(url: str) -> BinaryIO:
    """Open with fsspec; stream files of web servers that do not support ranges, whatever they claim."""
    file = fsspec.open(url, "rb").open()
    block = getattr(file, "blocksize", 0)
    is_large = (getattr(file, "size", None) or 0) > block > 0
    if is_large and url.startswith(("http://", "https://")) and not _supports_ranges(file):
        file.close()
        file = fsspec.open(url, "rb", block_size=0).open()
    return cast(BinaryIO, file)


def _supports_ranges(file: BinaryIO) -> bool:
    """Test range requests by reading the last byte: reads in the first block would not show it."""
    file.seek(-1, os.SEEK_END)
    try:
        file.read(1)
    except ValueError:  # fsspec's error for an answer with the whole file
        return False
    file.seek(0)
    return True


def read_url(url: str, max_bytes: int) -> bytes:
    """Read a whole file. ValueError with the reason if there is none or it is larger than the limit."""

    def read() -> bytes:
        with open_url(url) as file:
            return read_up_to(file, max_bytes + 1)

    try:
        payload = retry_if_reachable(url, read, UNREACHABLE)
    except DataError as error:
        raise ValueError(str(error).removeprefix(f"{url}: ")) from error
    if len(payload) > max_bytes:
        raise ValueError(f"has more than {max_bytes} bytes, the limit")
    return payload


def exists(url: str) -> bool:
    """True if the file exists. DataError if its server keeps failing."""
    if is_local(url):
        return Path(url).is_file()
    try:
        return _on_server(url, lambda fs, path: bool(_info(fs, path)["type"] == "file"))
    except NoSuchFile:
        return False


def info_of(url: str) -> dict[str, Any]:
    """fsspec's information on a file. Errors as in `open_url`."""
    return _translate_errors(url, lambda: _info(*url_to_fs(url)))


def files_under(url: str) -> list[str]:
    """Names of all files below a folder, relative to it, sorted; without hidden files."""
    if is_local(url):
        return sorted(_walk(url))
    names = _on_server(url, lambda fs, root: _names_under(fs, root, _listing_options(url)))
    return sorted(name for name in names if not any(part.startswith(".") for part in name.split("/")))


def _on_server(url: str, work: Callable[[Any, str], Result]) -> Result:
    """Call `work` with fsspec's file system for a URL and the path in it, with retries.

    DataError as in `open_url`, and if the server keeps failing.
    """
    return retry(url, lambda: _translate_errors(url, lambda: work(*url_to_fs(url))))


def _translate_errors(url: str, work: Callable[[], Result]) -> Result:
    try:
        return work()
    except FileNotFoundError as error:
        failure = _server_failure(error) if is_web(url) else None
        raise failure or NoSuchFile(f"{url}: no such file") from error
    except PermissionError as error:  # an object store may answer "forbidden" for missing files
        raise NoSuchFile(f"{url}: {reason_of(error)}") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise DataError(f"{url}: {reason_of(error)}") from error
    except ImportError as error:  # the library for such URLs is not installed
        hint = INSTALL_REMOTE if is_web(url) else "it is not one of this package's extras"
        raise DataError(f"{url}: {error}: {hint}") from error
    except ValueError as error:  # no such protocol
        raise DataError(f"{url}: {error}") from error
    except Exception as error:
        if status_of(error) in NOT_FOUND_STATUSES:
            raise NoSuchFile(f"{url}: no such file") from error
        raise


def _server_failure(error: FileNotFoundError) -> Exception | None:
    """The server's failure behind a FileNotFoundError; None if the file is really missing.

    fsspec reports any failure of a web server as a missing file. An invalid URL counts as missing, since
    retrying is pointless.
    """
    cause = error.__cause__
    if (
        not isinstance(cause, Exception)
        or isinstance(cause, ValueError)
        or status_of(cause) in NOT_FOUND_STATUSES
    ):
        return None
    return cause


def _info(fs: Any, path: str) -> dict[str, Any]:
    return cast(dict[str, Any], fs.info(path))


def _names_under(fs: Any, root: str, options: dict[str, Any]) -> list[str]:
    return [name.removeprefix(root).lstrip("/") for name in fs.find(root, **options)]


def _listing_options(url: str) -> dict[str, Any]:
    """Options for listings of web servers, which otherwise omit what they cannot reach."""
    return {"on_error": _raise_unless_not_found} if is_web(url) else {}


def _raise_unless_not_found(error: Exception) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _globbed(name: str) -> list[str]:
    if not any(sign in without_query(name) for sign in "*?["):
        return [name]
    if is_local(name) and Path(name).exists():  # a name that looks like a pattern
        return [name]
    found = _on_server(name, lambda fs, path: _matching(fs, path, name))
    if not found:
        raise DataError(f"{name} matches no file")
    if is_local(name):
        return found if Path(name).is_absolute() else [os.path.relpath(one) for one in found]
    return found


def _matching(fs: Any, pattern: str, name: str) -> list[str]:
    found = sorted(str(one) for one in fs.glob(pattern, **_listing_options(name)))
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
