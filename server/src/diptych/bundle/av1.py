"""Read how large the pictures are that a piece of AV1 codes, and how many; knows nothing of files or pixels.

AV1 Bitstream and Decoding Process Specification, 5.3 (OBU) and 5.5 (sequence header).
"""

from collections.abc import Iterator

_SEQUENCE_HEADER, _FRAME_HEADER, _FRAME = 1, 3, 6
_MAX_LEB128_BYTES = 8


def coded_pictures(data: memoryview) -> Iterator[tuple[int, int]]:
    """(pixels of the largest frame, frames in this unit: 0 or 1) of each unit. Raises ValueError."""
    position, n_px = 0, 0
    while position < len(data):
        header = data[position]
        kind, has_extension, has_size = header >> 3 & 15, header >> 2 & 1, header >> 1 & 1
        position += 1 + has_extension
        length = len(data) - position
        if has_size:
            length, position = _leb128(data, position)
        if kind == _SEQUENCE_HEADER:
            n_px = max(n_px, _largest_frame(_Bits(data[position : position + length])))
        yield n_px, int(kind in {_FRAME_HEADER, _FRAME})
        position += length


def _leb128(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for i in range(_MAX_LEB128_BYTES):
        if position + i >= len(data):
            break
        byte = data[position + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, position + i + 1
    raise ValueError("a length in the AV1 data is broken")


class _Bits:
    """Bits of some bytes, first the highest."""

    def __init__(self, data: memoryview) -> None:
        head = bytes(data[:512])  # a sequence header has at most 400
        self._number = int.from_bytes(head, "big")
        self._left = len(head) * 8

    def take(self, n: int) -> int:
        self._left -= n
        if self._left < 0:
            raise ValueError("the AV1 sequence header is cut off")
        return self._number >> self._left & (1 << n) - 1

    def take_uvlc(self) -> int:
        n_zeros = 0
        while not self.take(1):
            n_zeros += 1
        return self.take(n_zeros) + (1 << n_zeros) - 1 if n_zeros < 32 else (1 << 32) - 1


def _largest_frame(bits: _Bits) -> int:
    """width x height, the most that a frame of this sequence may have."""
    bits.take(3)  # profile
    bits.take(1)  # still picture
    if bits.take(1):  # reduced header
        bits.take(5)
    else:
        _skip_operating_points(bits)
    n_width_bits, n_height_bits = bits.take(4) + 1, bits.take(4) + 1
    width = bits.take(n_width_bits) + 1
    return width * (bits.take(n_height_bits) + 1)


def _skip_operating_points(bits: _Bits) -> None:
    n_delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.take_uvlc()
        if bits.take(1):  # decoder model
            n_delay_bits = bits.take(5) + 1
            bits.take(42)
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:  # level, then tier
            bits.take(1)
        if n_delay_bits and bits.take(1):
            bits.take(2 * n_delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)
