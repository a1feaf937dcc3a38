"""Read the values of the importer's flags, or say what they must be; knows nothing of checkpoints."""

import argparse
import math
from collections.abc import Callable

MIN_CONTEXT_LENGTH = 3  # the start, the end, and something to say


def whole_number(lowest: int) -> Callable[[str], int]:
    """A reader of whole numbers from `lowest` on."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least {lowest}") from None
        if number < lowest:
            raise argparse.ArgumentTypeError(f"{number} must be at least {lowest}")
        return number

    return read


def channels(text: str) -> tuple[float, float, float]:
    """One number for each of red, green and blue."""
    message = f"{text!r} must be three numbers, such as 0.48,0.46,0.41"
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(message)
    return numbers[0], numbers[1], numbers[2]


def spreads(text: str) -> tuple[float, float, float]:
    """The same for standard deviations, which images are divided by."""
    numbers = channels(text)
    if min(numbers) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be three numbers above 0, such as 0.27,0.26,0.28")
    return numbers
