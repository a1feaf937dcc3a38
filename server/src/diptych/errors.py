"""Every error diptych raises on purpose; knows nothing of HTTP, ONNX, FAISS or SQLite.

DiptychError
├── InputError               the caller sent something that cannot be used
│   ├── Malformed            not parseable as its content type
│   ├── UnsupportedImage     no decoder for these bytes
│   ├── UndecodableImage     a decoder was found and failed
│   ├── UnfetchableImage     its URL leads nowhere, or where nobody may go
│   ├── InvalidValue         a value outside its limit, or of the wrong kind
│   └── TooLarge             over a limit in bytes, pixels or items
├── NotFound                 no such model, version, collection or image
├── Conflict                 the name or id is taken by something else
├── Overloaded               a queue is full; `retry_after_s` says when to come back
├── NotReady                 starting, stopping, or the encoder hangs
├── EncoderFailed            the model raised, or gave rows that are no embeddings
├── BundleError              a bundle that must not be served
│   ├── InvalidManifest      missing, malformed, unknown key, or a newer schema
│   ├── CorruptBundle        a file is missing or its sha256 differs
│   ├── GoldenMismatch       this machine does not reproduce the bundle's reference outputs
│   └── PublishFailed        a bundle could not be written
├── StoreError               the data folder
│   ├── DataDirLocked        another process owns it
│   ├── CorruptStore         what is on disk contradicts itself
│   ├── StoreFull            the disk, or the quota, has no room for it
│   ├── StoreReadOnly        the disk takes no writes
│   └── StoreUnavailable     a folder of it is gone, as when its disk is unmounted
└── ConfigError              settings that contradict each other or this machine
"""

from copy import copy
from typing import Self


class DiptychError(Exception):
    """Base of all errors that diptych raises on purpose; the message is safe to show to the caller.

    `item` names the part of the request that is at fault, such as ``input[3]``, where there is one.
    """

    def __init__(self, message: str, item: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.item = item

    def named(self, item: str) -> Self:
        """The same error, naming the item it belongs to."""
        error = copy(self)
        error.item = item
        return error

    def __str__(self) -> str:
        return f"{self.item}: {self.message}" if self.item else self.message


class InputError(DiptychError):
    """Something the caller sent cannot be used."""


class Malformed(InputError):
    """Not parseable as its content type."""


class UnsupportedImage(InputError):
    """No decoder of the allow-list reads these bytes."""


class UndecodableImage(InputError):
    """The format is known, but its decoder failed."""


class UnfetchableImage(InputError):
    """An image could not be had from its URL."""


class InvalidValue(InputError):
    """A value outside its limit, or of the wrong kind."""


class TooLarge(InputError):
    """Over a limit in bytes, pixels or items."""


class NotFound(DiptychError):
    """No such model, version, collection or image."""


class Conflict(DiptychError):
    """The name or id is taken by something else."""


class Overloaded(DiptychError):
    """A queue is full. `retry_after_s` is the number of seconds after which trying again makes sense."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(DiptychError):
    """The server is starting, stopping, or its encoder does not answer."""


class EncoderFailed(DiptychError):
    """The model raised, or gave rows that are no embeddings (wrong shape, not finite)."""


class BundleError(DiptychError):
    """A bundle that must not be served."""


class InvalidManifest(BundleError):
    """The manifest is missing or malformed, has an unknown key, or is of a newer schema."""


class CorruptBundle(BundleError):
    """A file of the bundle is missing, or its sha256 is not the manifest's."""


class GoldenMismatch(BundleError):
    """This machine does not reproduce the bundle's reference outputs."""


class PublishFailed(BundleError):
    """A bundle could not be written to the repository."""


class StoreError(DiptychError):
    """The data folder cannot be used."""


class DataDirLocked(StoreError):
    """Another process owns the data folder."""


class CorruptStore(StoreError):
    """What is on disk contradicts itself. `logged` stands in the log where the message names an image."""

    def __init__(self, message: str, item: str | None = None, *, logged: str = "") -> None:
        super().__init__(message, item)
        self.logged = logged


class StoreFull(StoreError):
    """The disk of the data folder, or its quota, has no room for what was to be kept."""


class StoreReadOnly(StoreError):
    """The disk of the data folder takes no writes; what is on it can be read."""


class StoreUnavailable(StoreError):
    """A folder of the data folder is gone, as when its disk is unmounted; what was in it may come back."""


class ConfigError(DiptychError):
    """Settings that contradict each other or this machine."""


def logged_of(error: DiptychError) -> str:
    """What the log says of it: no image is named."""
    return (error.logged if isinstance(error, CorruptStore) else "") or str(error)
