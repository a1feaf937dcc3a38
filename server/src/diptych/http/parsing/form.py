"""The fields of a multipart form, by name and in body order. Knows no field of its own."""

from collections.abc import Iterator, Sequence

from diptych.errors import InvalidValue
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.multipart import Part


class Form:
    """Parts under the names that a call knows. InvalidValue names a field that it does not know."""

    def __init__(self, parts: Sequence[Part], known: Sequence[str]) -> None:
        for part in parts:
            if part.name not in known:
                raise InvalidValue(
                    f"no such field is known here, there are {', '.join(known)}", part.name[:100]
                )
        self._parts = parts

    def parts(self, *names: str) -> Iterator[Part]:
        """The parts of these names, in body order."""
        return (part for part in self._parts if part.name in names)

    def one(self, name: str) -> str | None:
        """The value of a field that may be there once; None when it is not."""
        values = [part.text(name) for part in self.parts(name)]
        if len(values) > 1:
            raise InvalidValue(f"is there {len(values)} times, once is enough", name)
        return values[0] if values else None

    def json(self, name: str) -> object:
        """The value of a field that holds JSON; None when it is not there."""
        text = self.one(name)
        return None if text is None else parse_json(text, name)

    def strings(self, name: str) -> list[str] | None:
        """A field that is repeated, or holds one JSON array of strings. Commas never split anything."""
        values = [part.text(f"{name}[{i}]") for i, part in enumerate(self.parts(name))]
        if len(values) == 1 and values[0].lstrip().startswith("["):
            return _strings(values[0], name)
        return values or None

    def given(self, *names: str) -> dict[str, object]:
        """The plain fields that are there, as text."""
        values = {name: self.one(name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


def _strings(text: str, name: str) -> list[str]:
    values = parse_json(text, name)
    assert isinstance(values, list), "JSON that begins with [ is an array"
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise InvalidValue(f"must be a string, got {value!r:.60}", f"{name}[{i}]")
    return values
