"""API keys in a JSON file, which servers read and `diptych keys` writes, at the same time."""

import errno
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diptych.adapters.files.private_files import FILE_MODE, make_new
from diptych.core.keys.key import Key
from diptych.durable import fsync_folder, write_durably
from diptych.errors import ConfigError, Conflict, InvalidValue, NotFound, StoreError, StoreReadOnly

KEY_FILE, USES_FILE = "keys.json", "key_uses.json"  # in a data folder
NAMES = frozenset({KEY_FILE, f"{KEY_FILE}.lock", USES_FILE})
SCHEMA = 1
MAX_KEYS = 1_000
MAX_FILE_BYTES = 50_000_000  # MAX_KEYS keys with as many collections as they may have need less
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}

LOG = logging.getLogger(__name__)


class KeyFile:
    """Satisfies `diptych.core.keys.service.KeyStore`. The file appears by a rename, with mode 0600.

    It has the sha256 of each token, not the token. Writers lock a file next to it, so that none undoes what
    another wrote. `uses_file` holds the last uses, so that the key file may be read-only, such as a mounted
    secret.
    """

    def __init__(self, file: Path, uses_file: Path, *, keeps_uses: bool = True) -> None:
        self._file = file
        self._keeps_uses = keeps_uses
        self._uses_file = uses_file

    def fingerprint(self) -> object:
        """Inode, time and size of the file; None while there is none. Raises StoreError."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._file.name}: {error.strerror}") from error
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> list[Key] | None:
        """All keys, oldest first; None if there is no file. Raises ConfigError that names what is wrong."""
        try:
            with self._file.open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"the API keys in {self._file} cannot be read: {error.strerror}") from error
        return _keys_of(content, self._file)

    def add(self, key: Key) -> None:
        """Keep a key. Raises Conflict beyond MAX_KEYS, or for a prefix that is taken; StoreError."""

        def added(keys: list[Key]) -> list[Key]:
            if len(keys) >= MAX_KEYS:
                raise Conflict(f"there are {len(keys)} API keys, which is the limit: revoke some first")
            if any(one.prefix == key.prefix for one in keys):
                raise Conflict(f"there is an API key with prefix {key.prefix!r} already: make another")
            return [*keys, key]

        self._change(added)

    def remove(self, prefix: str) -> Key:
        """Forget a key. Raises NotFound, StoreError."""
        removed: list[Key] = []

        def without(keys: list[Key]) -> list[Key]:
            removed.extend(key for key in keys if key.prefix == prefix)
            if not removed:
                raise NotFound(f"no API key with prefix {prefix[:80]!r}")
            return [key for key in keys if key.prefix != prefix]

        self._change(without)
        return removed[0]

    def last_uses(self) -> dict[str, datetime]:
        """When keys were last used; empty if that cannot be read."""
        try:
            found = json.loads(self._uses_file.read_bytes())
            return {str(prefix): datetime.fromisoformat(time) for prefix, time in found.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return {}

    def save_last_uses(self, uses: Mapping[str, datetime]) -> None:
        """Keep the last uses of all keys, if this file keeps them. A failure is logged."""
        if not self._keeps_uses:
            return
        try:
            _replace(self._uses_file, {prefix: time.isoformat() for prefix, time in sorted(uses.items())})
        except OSError as error:
            LOG.warning("the last uses of API keys are not kept: %s", error.strerror)

    def _change(self, change: Callable[[list[Key]], list[Key]]) -> None:
        with self._written():
            keys = change(self.read() or [])
            _replace(self._file, {"schema_version": SCHEMA, "keys": [_json_of(key) for key in keys]})

    @contextmanager
    def _written(self) -> Iterator[None]:
        """Hold the lock of writers. Raises StoreReadOnly, StoreError."""
        name = self._file.name
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _lock_file(self._file.with_name(f"{name}.lock")) as descriptor:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
        except OSError as error:
            if error.errno in _READ_ONLY:
                raise StoreReadOnly(
                    f"{name} cannot be written from here ({error.strerror}): change it where it is kept"
                ) from error
            raise StoreError(f"{name} cannot be written: {error.strerror}") from error


def _keys_of(content: bytes, file: Path) -> list[Key]:
    """Read the keys. No value of the file is in an error: it may be a token that somebody put there."""
    try:
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"it has more than {MAX_FILE_BYTES:,} bytes")
        found = json.loads(content)
        if found["schema_version"] != SCHEMA:
            raise ValueError(f"its schema_version is not {SCHEMA}, which this release reads")
        keys = [_key_of(row, number) for number, row in enumerate(found["keys"])]
    except json.JSONDecodeError as error:
        raise ConfigError(f"the API keys in {file} are not JSON, at line {error.lineno}") from None
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"the API keys in {file} cannot be read: {type(error).__name__} {error}") from None
    except ValueError as error:
        raise ConfigError(f"the API keys in {file} cannot be read: {error}") from None
    if len({key.prefix for key in keys}) < len(keys):
        raise ConfigError(f"the API keys in {file} cannot be read: two have the same prefix")
    return keys


def _key_of(row: Mapping[str, Any], number: int) -> Key:
    collections, expires_at = row.get("collections"), row.get("expires_at")
    try:
        return Key(
            prefix=row["prefix"],
            name=row["name"],
            sha256=row["sha256"],
            scopes=tuple(row["scopes"]),
            created_at=datetime.fromisoformat(row["created_at"]),
            collections=None if collections is None else frozenset(collections),
            expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
        )
    except InvalidValue as error:
        raise ValueError(f"keys[{number}].{error}") from None


def _json_of(key: Key) -> dict[str, object]:
    return {
        "prefix": key.prefix,
        "name": key.name,
        "sha256": key.sha256,
        "scopes": list(key.scopes),
        "collections": None if key.collections is None else sorted(key.collections),
        "created_at": key.created_at.astimezone(UTC).isoformat(),
        "expires_at": None if key.expires_at is None else key.expires_at.astimezone(UTC).isoformat(),
    }


@contextmanager
def _lock_file(file: Path) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, FILE_MODE)
    try:
        _give_to_owner(file)
        yield descriptor
    finally:
        os.close(descriptor)


def _replace(file: Path, content: Sequence[object] | Mapping[str, object]) -> None:
    """Write a file of JSON under its name at once. The target of a link is written, not the link."""
    target = file.resolve()
    unfinished = target.with_name(f".tmp-{target.name}")
    make_new(unfinished)
    try:
        write_durably(unfinished, json.dumps(content, indent=1).encode())
        _give_to_owner(unfinished)
        unfinished.replace(target)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    fsync_folder(target.parent)


def _give_to_owner(file: Path) -> None:
    """Give what root writes to the owner of the folder: the server that must read it runs as that user."""
    if os.geteuid() == 0:
        owner = file.parent.stat()
        os.chown(file, owner.st_uid, owner.st_gid)
