"""An S3 bucket, or the part of it below a prefix: bounded requests, errors that name nothing private."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from obstore.exceptions import BaseError
from obstore.store import S3Store

from diptych.adapters.objects.errors import is_missing_bucket, is_outage, reason_of, translated
from diptych.errors import ConfigError, StoreUnavailable

DATABASE_ID = "database-id"
CLOCK = "clock"
IMAGES, THUMBNAILS = "images", "thumbnails"  # folders
TIMEOUT_S = 20.0  # of one request with its body
CONNECT_S = 3.0
RETRY_S = 5.0  # no attempt begins later than that after the first one
N_RETRIES = 4
PROBE_S = 2.0  # of the one request that asks whether the store answers
PAUSE_S = 1.0  # of an outage: so long all requests fail at once, before one tries again
KNOWN_S = 1.0  # an answer counts as long as that

log = logging.getLogger("diptych.store")

Found = TypeVar("Found")


@dataclass(frozen=True)
class Object:
    """An object in a listing. `modified` is by the clock of the store."""

    name: str
    n_bytes: int
    modified: datetime
    etag: str | None


class Bucket:
    """Requests to the object store. Blocking, from any thread. They raise StoreUnavailable, StoreFull.

    Credentials, region and endpoint are those of the variables AWS_*, or of the machine.
    """

    def __init__(self, url: str) -> None:
        """`url`: s3://BUCKET or s3://BUCKET/PREFIX. Sends no request. Raises ConfigError."""
        name, _, prefix = url.removeprefix("s3://").partition("/")
        self._url, self._known_id = url, ""
        self._store = _store(name, prefix, TIMEOUT_S, N_RETRIES)
        self._probe = _store(name, prefix, PROBE_S, 0)
        self._outage = _Outage()
        self._answered_at = float("-inf")

    def __str__(self) -> str:
        """The address, which has no credentials."""
        return self._url

    def get(self, name: str) -> bytes | None:
        """The content of an object; None if it is missing."""
        return self._call(lambda: _read(self._store, name))

    def size(self, name: str) -> int | None:
        """The bytes of an object; None if it is missing."""
        found = self._call(lambda: _if_there(lambda: self._store.head(name)))
        return None if found is None else found["size"]

    def put(self, name: str, payload: bytes) -> None:
        """Write an object: whole and durable when this returns."""
        self._call(lambda: self._store.put(name, payload, use_multipart=False))

    def pages(self, folder: str) -> Iterator[list[Object]]:
        """The objects below a folder by name, in pages of at most a thousand."""
        listing = self._store.list(folder, chunk_size=1_000)
        while page := self._call(lambda: next(listing, None)):
            yield [Object(one["path"], one["size"], one["last_modified"], one["e_tag"]) for one in page]

    def delete(self, names: Sequence[str]) -> None:
        """Remove objects, which may be missing."""
        if names:
            self._call(lambda: self._store.delete(list(names)))

    def now(self) -> datetime:
        """The time by the clock of the store, to the second: that of an object that is written for it."""

        def work() -> datetime:
            self._store.put(CLOCK, b"", use_multipart=False)
            return self._store.head(CLOCK)["last_modified"]

        return self._call(work)

    def require(self, *, waits: bool = True) -> None:
        """Raise StoreUnavailable unless the store answers, and is the one that this server opened.

        With `waits`, an answer of the last second counts, and requests are tried again; without, one request
        is sent.
        """
        if waits and time.monotonic() - self._answered_at < KNOWN_S:
            return
        found = self._call(lambda: _read(self._store if waits else self._probe, DATABASE_ID), pauses=waits)
        if _id_of(found) != self._known_id:
            raise StoreUnavailable(
                f"the object store that DIPTYCH_ORIGINALS names lacks its {DATABASE_ID}, or has that of "
                "another database: bring its objects back, or restart the server with the right one"
            )
        self._answered_at = time.monotonic()

    def has_images(self) -> bool:
        """Whether there is an object of an image or a thumbnail."""
        return any(next(self.pages(folder), None) for folder in (IMAGES, THUMBNAILS))

    def read_id(self) -> str | None:
        """The id of the database whose images these are; None if there is none yet."""
        self._known_id = _id_of(self.get(DATABASE_ID))
        return self._known_id or None

    def write_id(self, id: str) -> None:
        """Write the id, unless there is one."""

        def work() -> None:
            try:
                self._store.put(DATABASE_ID, f"{id}\n".encode(), mode="create", use_multipart=False)
            except BaseError as error:
                if _read(self._store, DATABASE_ID) is None:
                    raise error

        self._call(work)
        self._known_id = id

    def _call(self, request: Callable[[], Found], *, pauses: bool = True) -> Found:
        """Send a request. With `pauses`, others fail at once for a while after it has failed."""
        self._outage.require_over()
        try:
            found = request()
        except (BaseError, OSError, ValueError) as error:
            if is_outage(error):
                self._outage.begin(reason_of(error), PAUSE_S if pauses else 0)
            raise translated(error) from None  # its text names objects, and may name keys
        self._outage.end()
        return found


class _Outage:
    """An outage of the store. The log has one line when it begins and one when it ends.

    Requests that wait for a store that is away would wait for each other, too: after one has failed, the
    others fail at once for a while.
    """

    def __init__(self) -> None:
        self._since: float | None = None
        self._until, self._reason = float("-inf"), ""
        self._lock = threading.Lock()

    def require_over(self) -> None:
        if time.monotonic() < self._until:
            raise StoreUnavailable(self._reason)

    def begin(self, reason: str, pause_s: float) -> None:
        with self._lock:
            now = time.monotonic()
            self._until, self._reason = now + pause_s, reason
            if self._since is None:
                self._since = now
                log.warning("%s", reason)

    def end(self) -> None:
        if self._since is None:
            return
        with self._lock:
            if self._since is not None:
                log.info("the object store answers again, after %.1f s", time.monotonic() - self._since)
                self._since, self._until = None, float("-inf")


def _store(bucket: str, prefix: str, timeout_s: float, n_retries: int) -> S3Store:
    try:
        return S3Store(
            bucket,
            prefix=prefix.strip("/") or None,
            # An endpoint of http:// is what the operator has written into AWS_ENDPOINT_URL.
            client_options={
                "allow_http": True,
                "timeout": timedelta(seconds=timeout_s),
                "connect_timeout": timedelta(seconds=min(CONNECT_S, timeout_s)),
            },
            retry_config={"max_retries": n_retries, "retry_timeout": timedelta(seconds=RETRY_S)},
        )
    except (BaseError, ValueError):
        raise ConfigError(
            "DIPTYCH_ORIGINALS: a variable AWS_... has a value that the object store cannot be opened with"
        ) from None


def _read(store: S3Store, name: str) -> bytes | None:
    found = _if_there(lambda: store.get(name))
    return None if found is None else bytes(found.bytes())


def _if_there(request: Callable[[], Found]) -> Found | None:
    try:
        return request()
    except FileNotFoundError as error:
        if is_missing_bucket(error):
            raise
        return None


def _id_of(content: bytes | None) -> str:
    return (content or b"").decode(errors="replace").strip()
