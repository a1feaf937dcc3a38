"""Distinct captions of many lengths, and labels that no server has seen; knows no tokenizer."""

import random
from collections import Counter
from collections.abc import Callable, Sequence

N_TEXTS = 480
N_BARS = 40

COUNTS = ("a", "one", "two", "three", "several", "the")
ADJECTIVES = (
    "red", "small", "old", "bright", "wooden", "quiet", "broken", "striped", "snowy", "blue", "heavy",
    "round",
)  # fmt: skip
THINGS = (
    "cat", "bicycle", "lighthouse", "umbrella", "coffee cup", "train", "mountain", "violin",
    "market stall", "bridge", "astronaut", "garden", "rocket", "plate of rice", "dog", "harbour",
    "motorcycle", "camera", "page of text", "coin",
)  # fmt: skip
PLACES = (
    "on a table", "beside the river", "in the rain", "under a cloudy sky", "at night",
    "in front of a brick wall", "near the window", "on the beach in the morning light",
    "between two parked cars", "in the middle of the street",
)  # fmt: skip
ACTIONS = (
    "waiting for somebody", "covered with snow", "seen from above", "reflected in the water",
    "painted by a child", "while people walk past with their shopping bags",
    "photographed with a very long lens from far away",
)  # fmt: skip
FRAMES = (
    "{}",
    "{}",
    "{}",
    "a photo of {}",
    "a drawing of {}",
    "{}, close-up",
    "a black and white photo of {}",
)


def captions(length: Callable[[str], int], max_length: int, n_texts: int = N_TEXTS) -> list[str]:
    """Captions none of which is there twice, nor longer than `max_length` as `length` counts."""
    draw, found = random.Random(0), dict[str, None]()
    while len(found) < n_texts:
        caption = _caption(draw)
        if length(caption) <= max_length:
            found[caption] = None
    return list(found)


def labels(n_labels: int, seed: int) -> list[str]:
    """Distinct short labels; two seeds share none, so that no label cache knows them."""
    draw = random.Random(seed)
    return [f"{draw.choice(ADJECTIVES)} {draw.choice(THINGS)} {seed} {number}" for number in range(n_labels)]


def histogram(lengths: Sequence[int], width: int = 2) -> str:
    """One line for each range of lengths, with a bar."""
    bins = Counter(length // width for length in lengths)
    most = max(bins.values())
    return "\n".join(
        f"{i * width:3d}-{i * width + width - 1:<3d} {bins[i]:4d} {'#' * round(N_BARS * bins[i] / most)}"
        for i in range(min(bins), max(bins) + 1)
    )


def _caption(draw: random.Random) -> str:
    words = draw.choice(THINGS)
    if draw.random() < 0.6:
        words = f"{draw.choice(COUNTS)} {draw.choice(ADJECTIVES)} {words}"
    if draw.random() < 0.3:
        words += f" {draw.choice(PLACES)}"
    if draw.random() < 0.12:
        words += f" {draw.choice(ACTIONS)}"
    return draw.choice(FRAMES).format(words)
