"""The classes that an emoji image is told apart from, and how a class is written."""

from functools import cache
from importlib.resources import files

_FLAG_OF = "flag of "


def emoji_classes() -> list[str]:
    """The 1,914 classes of an emoji style: one label for each emoji, skin tones left out."""
    return list(_read_classes())


def class_text(name: str) -> str:
    """A class as text for the model: "flag of X" is written "flag: X", which is how emoji are labelled."""
    return f"flag: {name.removeprefix(_FLAG_OF)}" if name.startswith(_FLAG_OF) else name


@cache
def _read_classes() -> tuple[str, ...]:
    text = files("diptych_training.data.pictograms").joinpath("lists", "emoji_classes.txt").read_text("utf-8")
    return tuple(text.splitlines())
