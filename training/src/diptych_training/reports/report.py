"""A report, written once and shown twice: as Markdown in a terminal or file, and as one HTML page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from diptych_training.reports.markdown import markdown_document, markdown_table, markdown_text
from diptych_training.reports.text import LONGEST_BLOCK, html_block, html_text

PACKAGE = "diptych_training.reports"
MARKED = ("better", "worse")  # cells that the page colours


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text; `style` is "lead" or "note", or empty, on the page."""

    text: str
    style: str = ""

    def markdown(self) -> str:
        """The paragraph."""
        return markdown_text(self.text, LONGEST_BLOCK)

    def html(self) -> str:
        """The paragraph."""
        return f"<p{_class(self.style)}>{html_block(self.text)}</p>"


@dataclass(frozen=True)
class Table:
    """A table of plain text, whose first column names the rows; a cell between two ** is bold.

    `fold` is the line under which the page hides it, `style` a class of the page.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_words: int = 1
    fold: str = ""
    style: str = ""

    def markdown(self) -> str:
        """The table in Markdown."""
        return markdown_table(self.header, self.rows, self.n_words)

    def html(self) -> str:
        """The table in HTML."""
        head = "".join(f'<th scope="col">{html_text(name)}</th>' for name in self.header)
        body = "\n".join(
            f'<tr><th scope="row">{_bold(first)}</th>{"".join(map(_cell, rest))}</tr>'
            for first, *rest in self.rows
        )
        table = (
            f'<div class="scroll"><table{_class(self.style)}><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )
        return f"<details><summary>{self.fold}</summary>{table}</details>" if self.fold else table


@dataclass(frozen=True)
class Code:
    """Lines of text as they are, on the page alone: a recipe, for example."""

    text: str

    def markdown(self) -> str:
        """Nothing."""
        return ""

    def html(self) -> str:
        """The lines, cut if there are very many."""
        return f'<pre tabindex="0">{html_block(self.text)}</pre>' if self.text.strip() else ""


@dataclass(frozen=True)
class Figure:
    """A part of a report that differs between both forms, such as pictures, or in one of them only."""

    page: str = ""
    text: str = ""

    def markdown(self) -> str:
        """Its Markdown."""
        return self.text

    def html(self) -> str:
        """Its HTML."""
        return self.page


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; without anything it is left out."""

    title: str
    blocks: Sequence[Text | Table | Code | Figure]

    def markdown(self) -> str:
        """The heading and what Markdown shows."""
        parts = [part for block in self.blocks if (part := block.markdown())]
        return "\n\n".join([f"## {self.title}", *parts]) if parts else ""

    def html(self) -> str:
        """The heading and what the page shows."""
        parts = [part for block in self.blocks if (part := block.html())]
        title = html_text(self.title)
        return "\n".join([f"<section>\n<h2>{title}</h2>", *parts, "</section>"]) if parts else ""


@dataclass(frozen=True)
class Report:
    """A whole report. `style` is a style sheet that comes after the one of all pages."""

    title: str
    lead: str
    sections: Sequence[Section]
    footer: Sequence[Text | Figure] = ()
    style: str = ""

    def markdown(self) -> str:
        """The report without pictures."""
        blocks = (*self.sections, *self.footer)
        return markdown_document(
            [
                f"# {markdown_text(self.title)}",
                Text(self.lead).markdown(),
                *(one.markdown() for one in blocks),
            ]
        )

    def page(self) -> str:
        """One HTML file that needs nothing else: no script, nothing loaded from elsewhere."""
        package = files(PACKAGE)
        return Template(package.joinpath("document.html").read_text("utf-8")).substitute(
            title=html_text(self.title),
            style=package.joinpath("style.css").read_text("utf-8") + self.style,
            lead=Text(self.lead).html(),
            sections=_lines(one.html() for one in self.sections),
            footer=_lines(one.html() for one in self.footer),
        )


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(part for part in parts if part)


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _cell(text: str) -> str:
    return f"<td{_class(text if text in MARKED else '')}>{_bold(text)}</td>"


def _bold(text: str) -> str:
    is_bold = text.startswith("**") and text.endswith("**")
    return f"<b>{html_text(text.strip('*'))}</b>" if is_bold else html_text(text)
