"""Read a folder of images, each with a text file of the same name, or with a caption inside it, or in a
folder whose name is its caption.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

from diptych.bundle.image.preprocess import ImageLimits
from diptych_training.data.pairs.embedded.captions import embedded_texts
from diptych_training.data.pairs.pair import (
    CAPTION_KEY,
    MAX_TEXT_BYTES,
    NAMES_IGNORED,
    NO_TEXT_FILE,
    Entry,
    Pair,
    Shard,
    Texts,
    Unusable,
    excluded_entry,
    require_shards,
    text_of_file,
    texts_of,
    texts_of_json,
)
from diptych_training.data.pairs.remote.urls import files_under, join, read_url
from diptych_training.data.pairs.sources.tar_shard import IMAGE_ENDINGS

IMAGES_PER_SHARD = 100  # few, so that shards in random order mix a sorted folder well
TEXT_ENDINGS = ("txt", "json")
N_SAMPLED = 100  # images that are looked at for a caption that they share


@dataclass(frozen=True)
class FolderShard:
    """Some images of a folder: their names relative to it, each with its text file's name or None.

    `folder_names`: the name of its folder is the caption of an image without another one; `stray`: the text
    file for which they are not, if that is why. `ignored`: a caption inside images that tells none of them.
    """

    folder: str
    prefix: str
    file_pairs: tuple[tuple[str, str | None], ...]
    limits: ImageLimits
    caption_key: str = CAPTION_KEY
    folder_names: bool = False
    stray: str = ""
    ignored: str = ""

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
                texts = None if text is None else self._texts(text)
                is_read = with_images or texts is None
                content = read_url(join(self.folder, image), self.limits.max_bytes) if is_read else b""
                texts = texts or self._embedded(content) or self._texts_of_folder(image)
                if texts is None:
                    raise ValueError(NO_TEXT_FILE + (NAMES_IGNORED + self.stray if self.stray else ""))
                yield Pair(name, content if with_images else b"", texts)
            except ValueError as error:
                yield Unusable(name, str(error))

    def _embedded(self, content: bytes) -> Texts | None:
        texts = embedded_texts(content, self.limits)
        return None if texts is None or texts.first == self.ignored else texts

    def _texts_of_folder(self, image: str) -> Texts | None:
        caption = folder_caption(image) if self.folder_names else ""
        return texts_of([caption], origin="folder names") if caption else None

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


def folder_caption(image: str) -> str:
    """The name of an image's folder as a caption; empty if the image is in none, or its name has no letter,
    as that of a date.
    """
    name = image.rpartition("/")[0].rpartition("/")[2].replace("_", " ").strip()
    return name if any(map(str.isalpha, name)) else ""


def folder_shards(folder: str, prefix: str, limits: ImageLimits, caption_key: str) -> list[Shard]:
    """Shards of the images in a folder and its subfolders, by name. DataError if there are none.

    Names of subfolders are captions if there are several, and no image has a text file; they count before a
    caption inside images that all of these share.
    """
    names = files_under(folder)
    text_of: dict[str, str] = {}
    for ending in TEXT_ENDINGS:  # a JSON file replaces a text file, as it holds more
        text_of |= {_stem(name): name for name in names if name.lower().endswith(f".{ending}")}
    images = [name for name in names if name.rpartition(".")[2].lower() in IMAGE_ENDINGS]
    files = [(name, text_of.get(_stem(name))) for name in images]
    are_named = len({folder_caption(name) for name in images} - {""}) > 1
    stray = next((text for _, text in files if text is not None), "") if are_named else ""
    folder_names = are_named and not stray
    whole = FolderShard(
        folder,
        prefix,
        tuple(files),
        limits,
        caption_key,
        folder_names,
        stray,
        _shared_caption(folder, images, limits) if folder_names else "",
    )
    shards: list[Shard] = [
        replace(whole, file_pairs=whole.file_pairs[start : start + IMAGES_PER_SHARD])
        for start in range(0, len(files), IMAGES_PER_SHARD)
    ]
    return require_shards(shards, f"{folder}: the folder")


def _shared_caption(folder: str, images: Sequence[str], limits: ImageLimits) -> str:
    """The only caption inside images of folders of different names, such as a camera writes into all of them;
    empty if there is none. Looks at N_SAMPLED images at most, evenly over the folders.
    """
    folders: dict[str, set[str]] = {}
    for image in images[:: -(-len(images) // N_SAMPLED)]:
        try:
            texts = embedded_texts(read_url(join(folder, image), limits.max_bytes), limits)
        except ValueError:
            continue  # named when it is read as an entry
        if texts is not None:
            folders.setdefault(texts.first, set()).add(folder_caption(image))
        if len(folders) > 1:
            return ""
    return next((caption for caption, names in folders.items() if len(names - {""}) > 1), "")


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
