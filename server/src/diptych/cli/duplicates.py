"""Which of many added images were there already, or came before; knows nothing of files or of servers."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from diptych.cli.console import out
from diptych_client import AddStatus


@dataclass(frozen=True)
class Duplicate:
    """`file` is the same picture as the one with this `id`, which `first` of the same call has too."""

    file: str
    id: str
    first: str | None


def find_duplicates(outcomes: Iterable[tuple[str, str | None, AddStatus]]) -> list[Duplicate]:
    """Those of (file, id, status) that changed nothing, in their order."""
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
