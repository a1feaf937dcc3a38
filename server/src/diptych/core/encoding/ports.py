"""What encoding needs from outside: a decoder of image files and a tokenizer."""

from collections.abc import Callable, Sequence
from typing import Protocol

from diptych.core.types import (
    InputIds,
    Picture,
)
from diptych.errors import InputError


class Decoder(Protocol):
    """Turns the bytes of an image file into what the encoder sees, off the event loop. Calls take turns."""

    async def decode_many(
        self, payloads: Sequence[bytes], on_decoded: Callable[[float], None], *, alone: bool = False
    ) -> list[Picture | InputError]:
        """N files -> N pictures of (S, S, 3), or UnsupportedImage, UndecodableImage, TooLarge.

        `on_decoded` hears of each, in any thread, how many seconds from now it took. `alone`: the caller
        has no other image at work, so that idle threads may help with this one.
        """
        ...


class Tokenizer(Protocol):
    """Turns one text into token ids."""

    def ids(self, text: str) -> tuple[InputIds, bool]:
        """-> (L,) int32 unpadded, and whether it was truncated. Raises InvalidValue. Called off the loop."""
        ...
