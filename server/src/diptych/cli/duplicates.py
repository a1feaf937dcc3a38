"""Which of many added images are the same picture as one in the collection, or earlier in the same call."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256

from diptych.cli.console import out
from diptych.cli.sources import Source
from diptych_client import AddOutcome, AddStatus, Client, ImageRecord

PAGE = 1000  # the most that the server lists at once


@dataclass(frozen=True)
class Duplicate:
    """`file` is the same picture as the one with this `id`, which `first` of the same call has too."""

    file: str
    id: str
    first: str | None


def list_by_sha256(client: Client, collection: str) -> dict[str, list[ImageRecord]]:
    """All images of the collection by the sha256 of their bytes. Takes a request for each 1,000 images."""
    found: dict[str, list[ImageRecord]] = {}
    after: str | None = None
    while True:
        page = client.list_images(collection, after=after, limit=PAGE)
        for record in page.images:
            found.setdefault(record.sha256, []).append(record)
        if page.next is None:
            return found
        after = page.next


def find_among_files(
    sources: Sequence[Source], outcomes: Iterable[AddOutcome], known: Mapping[str, Sequence[ImageRecord]]
) -> list[Duplicate]:
    """Files with the bytes of an image that was `known` before, or of an earlier file of this call.

    A file that an earlier call added under the same name is no duplicate of itself.
    """
    first: dict[str, tuple[str, str]] = {}  # sha256 -> id and file
    found: list[Duplicate] = []
    for outcome in outcomes:
        source = sources[outcome.index]
        if outcome.id is None or outcome.status == "failed":
            continue
        digest = sha256(source.path.read_bytes()).hexdigest()
        others = [record.id for record in known.get(digest, ()) if not _is_itself(source, record)]
        id, earlier = first.setdefault(digest, (outcome.id, str(source.path)))
        if earlier != str(source.path):
            found.append(Duplicate(str(source.path), id, earlier))
        elif others:
            found.append(Duplicate(str(source.path), others[0], None))
    return found


def find_among_outcomes(outcomes: Iterable[tuple[str, str | None, AddStatus]]) -> list[Duplicate]:
    """Those of (file, id, status) of an archive that changed nothing, in their order."""
    first: dict[str, str] = {}
    found: list[Duplicate] = []
    for file, id, status in outcomes:
        if id is None:
            continue
        if status == "unchanged":
            found.append(Duplicate(file, id, first.get(id)))
        first.setdefault(id, file)
    return found


def as_json(found: Iterable[Duplicate]) -> list[dict[str, str | None]]:
    """For a document of the command."""
    return [asdict(one) for one in found]


def show(found: Iterable[Duplicate]) -> None:
    """Each on a line."""
    for one in found:
        out(f"{one.file}: same picture as {one.id}" + (f" ({one.first})" if one.first else ""))


def _is_itself(source: Source, record: ImageRecord) -> bool:
    """Whether the record came from this very file in an earlier call."""
    return source.id in {None, record.id} and record.metadata.get("file") == (source.metadata or {}).get(
        "file"
    )
