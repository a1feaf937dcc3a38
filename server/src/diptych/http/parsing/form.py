"""Access the fields of a multipart form by name, in body order."""

from collections.abc import Iterator, Sequence

from diptych.errors import InvalidValue
from diptych.http.parsing.json import parse_json
from diptych.http.parsing.multipart import Part


class Form:
    """The parts of a form. Raises InvalidValue that names the first unknown field."""

    def __init__(self, parts: Sequence[Part], known: Sequence[str]) -> None:
        for part in parts:
            if part.name not in known:
                raise InvalidValue(f"unknown field, there are {', '.join(known)}", part.name[:100])
        self._parts = parts

    def parts(self, *names: str) -> Iterator[Part]:
        """The parts with these names, in body order."""
        return (part for part in self._parts if part.name in names)

    def value(self, name: str) -> str | None:
        """The text of a field that may occur once; None when it is missing."""
        values = [part.text(name) for part in self.parts(name)]
        if len(values) > 1:
            raise InvalidValue(f"occurs {len(values)} times, once is allowed", name)
        return values[0] if values else None

    def json(self, name: str) -> object:
        """The parsed value of a field that holds JSON; None when it is missing."""
        text = self.value(name)
        return None if text is None else parse_json(text, name)

    def strings(self, name: str) -> list[str] | None:
        """The values of a repeated field, or of one field that holds a JSON array of strings.

        Commas do not separate values. None when the field is missing.
        """
        values = [part.text(f"{name}[{i}]") for i, part in enumerate(self.parts(name))]
        if len(values) == 1 and values[0].lstrip().startswith("["):
            return _strings(values[0], name)
        return values or None

    def values(self, *names: str) -> dict[str, object]:
        """The texts of those of the named fields that occur."""
        values = {name: self.value(name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


def _strings(text: str, name: str) -> list[str]:
    values = parse_json(text, name)
    assert isinstance(values, list), "JSON that begins with [ is an array"
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise InvalidValue(f"must be a string, got {value!r:.60}", f"{name}[{i}]")
    return values
