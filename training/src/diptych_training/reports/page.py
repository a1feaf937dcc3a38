"""The frame of a page, and the parts that all pages have."""

from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template

from diptych_training.reports.text import html_text


def document(title: str, lead: str, sections: Iterable[str], footer: str, style: str) -> str:
    """A whole page. `lead` follows the title; `style` comes after the style sheet of all pages."""
    package = files("diptych_training.reports")
    frame = Template(package.joinpath("document.html").read_text("utf-8"))
    return frame.substitute(
        title=html_text(title),
        style=package.joinpath("style.css").read_text("utf-8") + style,
        lead=lead,
        sections="\n".join(one for one in sections if one),
        footer=footer,
    )


def section(heading: str, body: str) -> str:
    """A part of the page with its heading."""
    return f"<section>\n<h2>{heading}</h2>\n{body}\n</section>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of HTML cells, whose first column names the rows."""
    head = "".join(f'<th scope="col">{name}</th>' for name in header)
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
