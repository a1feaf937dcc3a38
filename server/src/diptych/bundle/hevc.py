"""Read how large the pictures are that a piece of HEVC codes, and how many; knows nothing of files or pixels.

ITU-T H.265, 7.3.1.2 (unit header), 7.3.2.2.1 (sequence parameter set), 7.3.3 (profile, tier and level);
ISO/IEC 14496-15, 8.3.3 (configuration).
"""

from collections.abc import Iterator

_PARAMETER_SET = 33  # of a sequence: the one that names the size
_FIRST_UNCODED = 32  # units of lower types hold slices of pictures
_LENGTH_BYTES = 4  # before each unit: decoders of still pictures know no other
_ARRAYS_AT = 22
_MAX_SUB_LAYERS = 8
_PROFILE_BITS, _LEVEL_BITS = 88, 8
_MAX_HEAD_BYTES = 200  # what stands before the size has at most 130
_MAX_ZEROS = 31  # of a number in Exp-Golomb code


def largest_picture(configuration: memoryview) -> int:
    """Pixels of the largest picture that the parameter sets of an `hvcC` box allow. Raises ValueError."""
    position = _ARRAYS_AT + 1
    largest = 0
    for _ in range(_byte(configuration, _ARRAYS_AT)):
        kind = _byte(configuration, position) & 63
        n_units = int.from_bytes(configuration[position + 1 : position + 3], "big")
        position += 3
        for _ in range(n_units):
            length = int.from_bytes(configuration[position : position + 2], "big")
            unit = configuration[position + 2 : position + 2 + length]
            if len(unit) < length:
                raise ValueError("a parameter set is cut off")
            if kind == _PARAMETER_SET or _kind(unit) == _PARAMETER_SET:
                largest = max(largest, _pixels(unit))
            position += 2 + length
    return largest


def coded_pictures(data: memoryview) -> Iterator[tuple[int, int]]:
    """(pixels of a picture by a parameter set among the data, pictures that begin: 0 or 1) of each unit."""
    position = 0
    while position + _LENGTH_BYTES < len(data):
        length = int.from_bytes(data[position : position + _LENGTH_BYTES], "big")
        position += _LENGTH_BYTES
        unit = data[position : position + length]
        kind = _kind(unit)
        if kind == _PARAMETER_SET:
            yield _pixels(unit), 0
        else:
            is_slice = 0 <= kind < _FIRST_UNCODED
            yield 0, int(is_slice and len(unit) > 2 and unit[2] >> 7)  # the first slice of its picture
        position += length


def _kind(unit: memoryview) -> int:
    return unit[0] >> 1 & 63 if len(unit) >= 2 else -1


def _byte(data: memoryview, position: int) -> int:
    if position >= len(data):
        raise ValueError("the configuration is cut off")
    return data[position]


def _pixels(unit: memoryview) -> int:
    """Width times height, as coded. Raises ValueError."""
    bits = _Bits(bytes(unit[2:_MAX_HEAD_BYTES]).replace(b"\0\0\3", b"\0\0"))
    bits.take(4)
    n_sub_layers = bits.take(3)
    bits.take(1)
    _skip_profile(bits, n_sub_layers)
    bits.golomb()
    if bits.golomb() == 3:  # colours in planes of their own, perhaps
        bits.take(1)
    return bits.golomb() * bits.golomb()


def _skip_profile(bits: "_Bits", n_sub_layers: int) -> None:
    bits.take(_PROFILE_BITS + _LEVEL_BITS)
    present = [(bits.take(1), bits.take(1)) for _ in range(n_sub_layers)]
    if n_sub_layers:
        bits.take(2 * (_MAX_SUB_LAYERS - n_sub_layers))
    for has_profile, has_level in present:
        bits.take(_PROFILE_BITS * has_profile + _LEVEL_BITS * has_level)


class _Bits:
    """Bits of some bytes, first the highest. Raises ValueError behind the last."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def take(self, n: int) -> int:
        self._left -= n
        if self._left < 0:
            raise ValueError("a parameter set is cut off")
        return self._number >> self._left & ((1 << n) - 1)

    def golomb(self) -> int:
        """A number in Exp-Golomb code (9.2)."""
        n_zeros = 0
        while not self.take(1):
            n_zeros += 1
            if n_zeros > _MAX_ZEROS:
                raise ValueError("a number in a parameter set is too long")
        return (1 << n_zeros) - 1 + self.take(n_zeros)
