"""Reading a report's page: its tags, their attributes and its text."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Collects tags with attributes, and text; asserts that tags are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data

    def attributes(self, tag: str, name: str) -> list[str]:
        """The values of an attribute, in order."""
        return [
            attributes[name] or "" for found, attributes in self.tags if found == tag and name in attributes
        ]

    def of_class(self, name: str) -> int:
        """The number of tags of a class."""
        return sum(name in (attributes.get("class") or "").split() for _, attributes in self.tags)
