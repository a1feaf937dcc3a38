"""Keep reviewed pictures in a folder, each with a file of its texts, as a source of pairs."""

from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote, unquote

from diptych.bundle.image.formats import MEDIA_TYPES
from diptych_client import Client, ImageRecord, NotFound
from diptych_training.data.pairs.image_files import map_in_threads
from diptych_training.data.pairs.pair import Texts, json_of_texts
from diptych_training.files import make_private_folder, open_atomic
from diptych_training.progress import progress_bar

N_DOWNLOADS = 4  # at the same time
ENDINGS = {media_type: name.lower() for name, media_type in MEDIA_TYPES.items()}


def download(client: Client, records: Mapping[str, ImageRecord], folder: Path) -> list[str]:
    """Download the originals that the folder does not have.

    Returns the ids of images that were deleted or replaced meanwhile. What was downloaded before an
    interruption stays.
    """
    make_private_folder(folder)
    gone = []
    fetch = partial(_fetch, client, folder)
    with progress_bar(desc="pictures", total=len(records), unit="picture") as bar:
        for record, is_there in map_in_threads(iter(records.values()), fetch, N_DOWNLOADS):
            bar.update()
            if not is_there:
                gone.append(record.id)
    return gone


def write_texts(texts: Mapping[str, Texts], folder: Path) -> None:
    """Write the texts of pictures, by the names of their files, and remove all other files."""
    kept = set(texts)
    for name, one in texts.items():
        file = (folder / name).with_suffix(".json")
        _write(file, json_of_texts(one))
        kept.add(file.name)
    for file in folder.iterdir():
        if file.name not in kept:
            file.unlink()


def file_name(record: ImageRecord) -> str:
    """A name of the id, that of a file in the folder whatever a server answers."""
    return f"{in_folder(record.id)}.{ENDINGS[record.media_type]}"


def image_id(name: str) -> str:
    """The id whose `file_name` this is."""
    return unquote(name.rpartition(".")[0])


def in_folder(text: str) -> str:
    """The text with all signs escaped that do not belong in ids, and a dot that would hide the file."""
    name = quote(text, safe="")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def _fetch(client: Client, folder: Path, record: ImageRecord) -> bool:
    """Whether the folder has the original now; False if the server has other bytes, or none."""
    file = folder / file_name(record)
    if file.is_file() and sha256(file.read_bytes()).hexdigest() == record.sha256:
        return True
    try:
        payload = client.original(record.collection, record.id)
    except NotFound:
        return False
    if sha256(payload).hexdigest() != record.sha256:
        return False
    _write(file, payload)
    return True


def _write(file: Path, payload: bytes) -> None:
    """Write a file for this user alone, unless it has these bytes: a refresh knows pairs by their times."""
    if not file.is_file() or file.read_bytes() != payload:
        with open_atomic(file, private=True) as out:
            out.write(payload)
