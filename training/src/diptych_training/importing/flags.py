"""Parse the values of the import command's flags."""

import argparse
import math
from collections.abc import Callable

MIN_CONTEXT_LENGTH = 3  # start token, end token and one token of text


def whole_number(lowest: int) -> Callable[[str], int]:
    """A parser for whole numbers of at least `lowest`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least {lowest}") from None
        if number < lowest:
            raise argparse.ArgumentTypeError(f"{number} must be at least {lowest}")
        return number

    return read


def whole_numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers above 0 with commas between them."""
    return tuple(map(whole_number(1), text.split(",")))


def channels(text: str) -> tuple[float, float, float]:
    """Parse one number for each of red, green and blue."""
    message = f"{text!r} must be three numbers, such as 0.48,0.46,0.41"
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(message)
    return numbers[0], numbers[1], numbers[2]


def spreads(text: str) -> tuple[float, float, float]:
    """Parse three standard deviations, which must be above 0."""
    numbers = channels(text)
    if min(numbers) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be three numbers above 0, such as 0.27,0.26,0.28")
    return numbers
