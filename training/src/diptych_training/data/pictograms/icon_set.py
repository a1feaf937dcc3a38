"""Read an icon set in IconifyJSON: icons as SVG, aliases and categories."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diptych_training.data.pictograms.npm import read_json
from diptych_training.errors import DataError

DEFAULT_SIZE = 16  # of the format, if neither icon nor set states a size
TRANSFORMS = ("rotate", "hFlip", "vFlip")


@dataclass(frozen=True)
class IconSet:
    """Icons by name.

    `aliases`: name -> icon of which it is another name. `categories`: name -> categories.
    """

    prefix: str
    icons: dict[str, dict[str, Any]]
    aliases: dict[str, str]
    categories: dict[str, list[str]]
    suffixes: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    size: dict[str, float] = field(default_factory=dict)

    def names(self) -> Iterator[str]:
        """Names of the visible icons; hidden ones are kept only for compatibility."""
        return (name for name, icon in self.icons.items() if not icon.get("hidden"))

    def svg(self, name: str) -> str:
        """The icon as an SVG document; `currentColor` is black by default.

        DataError when it is not in the set.
        """
        if name not in self.icons:
            raise DataError(f"icon set {self.prefix!r} has no icon {name!r}")
        icon = {**self.size, **self.icons[name]}
        left, top = icon.get("left", 0), icon.get("top", 0)
        width, height = icon.get("width", DEFAULT_SIZE), icon.get("height", DEFAULT_SIZE)
        body = _transformed(icon, left + width / 2, top + height / 2)
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{body}</svg>'
        )


def read_icon_set(file: Path) -> IconSet:
    """Read one `<prefix>.json`; an alias that rotates or mirrors its parent becomes an icon of its own."""
    content = read_json(file)
    try:
        icons: dict[str, dict[str, Any]] = dict(content["icons"])
        aliases: dict[str, str] = {}
        for name, alias in content.get("aliases", {}).items():
            if any(key in alias for key in TRANSFORMS) and alias["parent"] in icons:
                icons[name] = {**icons[alias["parent"]], **alias}
            else:
                aliases[name] = alias["parent"]
        categories: dict[str, list[str]] = {}
        for category, names in content.get("categories", {}).items():
            for name in names:
                categories.setdefault(name, []).append(category)
        return IconSet(
            prefix=content["prefix"],
            icons=icons,
            aliases=aliases,
            categories=categories,
            suffixes=tuple(content.get("suffixes", {})),
            prefixes=tuple(content.get("prefixes", {})),
            size={key: content[key] for key in ("left", "top", "width", "height") if key in content},
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{file.name} is not an icon set: {error}") from None


def _transformed(icon: dict[str, Any], centre_x: float, centre_y: float) -> str:
    """The body, mirrored and then rotated by quarter turns about the centre of the view box."""
    body: str = icon["body"]
    flip_x, flip_y = (-1 if icon.get(key) else 1 for key in ("hFlip", "vFlip"))
    degrees = icon.get("rotate", 0) % 4 * 90
    if (flip_x, flip_y, degrees) == (1, 1, 0):
        return body
    return (
        f'<g transform="rotate({degrees} {centre_x} {centre_y}) translate({centre_x} {centre_y}) '
        f'scale({flip_x} {flip_y}) translate({-centre_x} {-centre_y})">{body}</g>'
    )
