"""Read a folder of images, each with a text file of the same name."""

from collections.abc import Iterator, Set
from dataclasses import dataclass

from diptych_training.data.pairs.pair import (
    CAPTION_KEY,
    MAX_TEXT_BYTES,
    NO_TEXT_FILE,
    Entry,
    Pair,
    Shard,
    Texts,
    Unusable,
    excluded_entry,
    require_shards,
    text_of_file,
    texts_of_json,
)
from diptych_training.data.pairs.remote.urls import files_under, join, read_url
from diptych_training.data.pairs.sources.tar_shard import IMAGE_ENDINGS

IMAGES_PER_SHARD = 100  # few, so that shards in random order mix a sorted folder well
TEXT_ENDINGS = ("txt", "json")


@dataclass(frozen=True)
class FolderShard:
    """Some images of a folder: their names relative to it, each with its text file's name or None."""

    folder: str
    prefix: str
    file_pairs: tuple[tuple[str, str | None], ...]
    max_bytes: int
    caption_key: str = CAPTION_KEY

    @property
    def location(self) -> str:
        """Path or URL of the folder."""
        return self.folder

    @property
    def files(self) -> tuple[str, ...]:
        """Images and text files."""
        names = (name for both in self.file_pairs for name in both if name is not None)
        return tuple(join(self.folder, name) for name in names)

    def entries(
        self, start: int = 0, step: int = 1, *, with_images: bool = True, excluded: Set[str] = frozenset()
    ) -> Iterator[Entry]:
        """One entry per image."""
        for image, text in self.file_pairs[start::step]:
            name = f"{self.prefix}:{image}"
            if name in excluded:
                yield excluded_entry(name)
                continue
            try:
                if text is None:
                    raise ValueError(NO_TEXT_FILE)
                texts = self._texts(text)
                content = read_url(join(self.folder, image), self.max_bytes) if with_images else b""
                yield Pair(name, content, texts)
            except ValueError as error:
                yield Unusable(name, str(error))

    def _texts(self, name: str) -> Texts:
        try:
            payload = read_url(join(self.folder, name), MAX_TEXT_BYTES)
        except ValueError as error:
            raise ValueError(f"its text file: {error}") from error
        if name.lower().endswith(".txt"):
            return text_of_file(payload)
        texts = texts_of_json(payload, self.caption_key)
        if texts is None:
            raise ValueError("its caption is empty or missing")
        return texts


def folder_shards(folder: str, prefix: str, max_bytes: int, caption_key: str) -> list[Shard]:
    """Shards of the images in a folder and its subfolders, by name. DataError if there are none."""
    names = files_under(folder)
    text_of: dict[str, str] = {}
    for ending in TEXT_ENDINGS:  # a JSON file replaces a text file, as it holds more
        text_of |= {_stem(name): name for name in names if name.lower().endswith(f".{ending}")}
    images = [name for name in names if name.rpartition(".")[2].lower() in IMAGE_ENDINGS]
    files = [(name, text_of.get(_stem(name))) for name in images]
    shards: list[Shard] = [
        FolderShard(folder, prefix, tuple(files[start : start + IMAGES_PER_SHARD]), max_bytes, caption_key)
        for start in range(0, len(files), IMAGES_PER_SHARD)
    ]
    return require_shards(shards, f"{folder}: the folder")


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
