"""Places of image files that tests damage, lose and age."""

import os
from datetime import UTC, datetime
from pathlib import Path

from diptych.adapters.files.image_files import ImageFiles
from diptych.adapters.objects.bucket import Bucket
from diptych.adapters.objects.image_objects import ImageObjects
from support.object_store import Store


class FolderOfImages:
    """A folder that several servers share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self) -> ImageFiles:
        return ImageFiles(self._folder, shared=True)

    def damage(self, sha256: str, content: bytes) -> None:
        (self._folder / "images" / sha256[:2] / sha256).write_bytes(content)

    def lose(self, sha256: str) -> None:
        (self._folder / "images" / sha256[:2] / sha256).unlink()

    def age(self) -> None:
        for path in self._folder.glob("*/*/*"):
            os.utime(path, (1, 1))


class ObjectsOfImages:
    """A bucket, or what is below a prefix of it. Its database has an id."""

    def __init__(self, store: Store, bucket: str, prefix: str = "") -> None:
        self.store, self.bucket, self._prefix = store, bucket, prefix
        self.opened().write_id("an id")

    def opened(self) -> Bucket:
        return Bucket(f"s3://{self.bucket}/{self._prefix}")

    def open(self) -> ImageObjects:
        bucket = self.opened()
        assert bucket.read_id() == "an id"
        return ImageObjects(bucket)

    def names(self, sha256: str) -> list[str]:
        """The names of the objects of an image."""
        return [one for one in self.store.keys(self.bucket) if f"images/{sha256[:2]}/{sha256}" in one]

    def damage(self, sha256: str, content: bytes) -> None:
        for name in self.names(sha256):
            self.store.write(self.bucket, name, content)

    def lose(self, sha256: str) -> None:
        self.store.remove(self.bucket, *self.names(sha256))

    def age(self, *, at: datetime = datetime(2001, 1, 1, tzinfo=UTC)) -> None:
        self.store.age(self.bucket, *self.store.keys(self.bucket), at=at)
