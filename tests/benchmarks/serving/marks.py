"""Put a text between two marks of a file, which a later run finds again."""

from pathlib import Path

MARKS = "bench"


def write_between_marks(file: Path, text: str, marks: str = MARKS) -> None:
    """Replace what stands between the marks. Raises SystemExit when they are not there."""
    old = file.read_text(encoding="utf-8")
    file.write_text(between_marks(old, text, str(file), marks), encoding="utf-8")


def between_marks(old: str, text: str, name: str, marks: str = MARKS) -> str:
    """`old` with `text` between the marks."""
    first, last = f"<!-- {marks}:begin -->", f"<!-- {marks}:end -->"
    before, begin, rest = old.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"{name} has no {first} followed by {last}")
    return f"{before}{first}\n{text.strip()}\n{last}{after}"
