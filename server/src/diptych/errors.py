"""Every error that diptych raises on purpose.

DiptychError
├── InputError               the caller sent something that cannot be used
│   ├── Malformed            cannot be parsed as its content type
│   ├── UnsupportedImage     there is no decoder for these bytes
│   ├── UndecodableImage     the decoder of its format failed
│   ├── UnfetchableImage     it cannot be fetched from its URL
│   ├── InvalidValue         a value outside its limits, or of the wrong kind
│   └── TooLarge             over a limit in bytes, pixels or items
├── Forbidden                the caller's key does not allow the call, or the server is read-only
├── NotFound                 no such model, version, collection or image
├── Conflict                 the name or id is already taken
├── Overloaded               a queue is full; `retry_after_s` says when to try again
├── NotReady                 the server is starting or stopping, or its encoder hangs
├── EncoderFailed            the model raised, or returned rows that are not embeddings
├── BundleError              a bundle that must not be served
│   ├── InvalidManifest      missing, malformed, with an unknown key, or of a newer schema
│   ├── CorruptBundle        a file is missing, or its sha256 differs
│   ├── GoldenMismatch       this machine does not reproduce the bundle's reference outputs
│   └── PublishFailed        a bundle could not be written
│       └── RepositoryFull   the disk of the model repository has no space left
├── StoreError               the data folder cannot be used
│   ├── DataDirLocked        another process uses it
│   ├── CorruptStore         its contents are damaged or contradict each other
│   ├── StoreFull            its disk or its quota has no space left
│   ├── StoreReadOnly        its disk is read-only
│   └── StoreUnavailable     a folder or file of it is gone, for example because a disk was unmounted
│       └── LibraryAway      the folder of a library is out of reach
└── ConfigError              settings contradict each other, or this machine cannot satisfy them
"""

from copy import copy
from typing import Self


class DiptychError(Exception):
    """The base of all errors that diptych raises on purpose. The message is safe to show to the caller.

    `item` names the part of the request that is at fault, such as ``input[3]``, if there is one.
    """

    def __init__(self, message: str, item: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.item = item

    def named(self, item: str) -> Self:
        """Return a copy of this error that names the item it belongs to."""
        error = copy(self)
        error.item = item
        return error

    def __str__(self) -> str:
        return f"{self.item}: {self.message}" if self.item else self.message


class InputError(DiptychError):
    """Something that the caller sent cannot be used."""


class Malformed(InputError):
    """The input cannot be parsed as its content type."""


class UnsupportedImage(InputError):
    """No allowed decoder reads these bytes."""


class UndecodableImage(InputError):
    """The format of the image is known, but its decoder failed."""


class UnfetchableImage(InputError):
    """An image could not be fetched from its URL."""


class InvalidValue(InputError):
    """A value is outside its limits, or of the wrong kind."""


class TooLarge(InputError):
    """The input is over a limit in bytes, pixels or items."""


class Forbidden(DiptychError):
    """The key of the caller does not allow the call, or the server is read-only."""


class NotFound(DiptychError):
    """There is no such model, version, collection or image."""


class Conflict(DiptychError):
    """The name or id is already taken."""


class Overloaded(DiptychError):
    """A queue is full. `retry_after_s` is the number of seconds after which a retry makes sense."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotReady(DiptychError):
    """The server is starting or stopping, or its encoder hangs."""


class EncoderFailed(DiptychError):
    """The model raised, or returned rows that are not embeddings: wrong shape, not finite."""


class BundleError(DiptychError):
    """The bundle must not be served."""


class InvalidManifest(BundleError):
    """The manifest is missing or malformed, has an unknown key, or is of a newer schema."""


class CorruptBundle(BundleError):
    """A file of the bundle is missing, or its sha256 differs from the manifest."""


class GoldenMismatch(BundleError):
    """This machine does not reproduce the bundle's reference outputs."""


class PublishFailed(BundleError):
    """A bundle could not be written to the repository."""


class RepositoryFull(PublishFailed):
    """The disk of the model repository has no space left."""


class StoreError(DiptychError):
    """The data folder cannot be used."""


class DataDirLocked(StoreError):
    """Another process uses the data folder."""


class CorruptStore(StoreError):
    """The contents of the data folder are damaged or contradict each other.

    `logged` replaces the message in the log if the message names an image.
    """

    def __init__(self, message: str, item: str | None = None, *, logged: str = "") -> None:
        super().__init__(message, item)
        self.logged = logged


class StoreFull(StoreError):
    """The disk of the data folder, or its quota, has no space left."""


class StoreReadOnly(StoreError):
    """The disk of the data folder is read-only; reading still works."""


class StoreUnavailable(StoreError):
    """A folder or file of the data folder is gone, such as after its disk was unmounted; it may come back."""


class LibraryAway(StoreUnavailable):
    """The folder of a library is out of reach, such as while its disk is not mounted; it may come back."""


class ConfigError(DiptychError):
    """The settings contradict each other, or this machine cannot satisfy them."""


def logged_of(error: DiptychError) -> str:
    """The text for the log, which names no image."""
    return (error.logged if isinstance(error, CorruptStore) else "") or str(error)
