"""What to build: shapes, precisions and how hard TensorRT tries, as data. Knows no TensorRT."""

import re
from dataclasses import dataclass, field

from diptych.bundle.manifest import TextSpec
from diptych.bundle.tensorrt import Extent, Profile, usual_lengths
from diptych.errors import InvalidValue

PRECISIONS = ("fp16", "fp32")
IMAGE_BATCHES = (Extent(min=1, opt=1, max=4), Extent(min=1, opt=32, max=256))
TEXT_BATCHES = (Extent(min=1, opt=1, max=4), Extent(min=1, opt=64, max=256))
_EXTENT = re.compile(r"([0-9]{1,5}):([0-9]{1,5}):([0-9]{1,5})")


@dataclass(frozen=True)
class PlanRequest:
    """`image_batches` and `text_batches`: a profile each. Without `lengths`, all that the model takes."""

    image_batches: tuple[Extent, ...] = IMAGE_BATCHES
    text_batches: tuple[Extent, ...] = TEXT_BATCHES
    lengths: Extent | None = None
    precisions: tuple[str, ...] = ("fp16",)
    optimization_level: int = 3  # TensorRT's own default; 5 tries the most, and takes the longest
    workspace_bytes: int | None = None  # of the GPU, while it builds; without it all that is free
    ungated: bool = field(default=False, kw_only=True)

    def image_profiles(self) -> list[Profile]:
        """One for each range of batches."""
        return [Profile(batch=batch) for batch in self.image_batches]

    def text_profiles(self, spec: TextSpec) -> list[Profile]:
        """One for each range of batches, each of every length that a server may ask for."""
        lengths = self.lengths or usual_lengths(spec.lengths)
        return [Profile(batch=batch, length=lengths) for batch in self.text_batches]


def parse_extent(text: str) -> Extent:
    """``1:32:256`` -> least, usual and largest size. Raises InvalidValue."""
    found = _EXTENT.fullmatch(text)
    numbers = [int(number) for number in found.groups()] if found else []
    if not numbers or not 1 <= numbers[0] <= numbers[1] <= numbers[2]:
        raise InvalidValue(f"{text!r} must be MIN:OPT:MAX, such as 1:32:256, each at least the one before")
    return Extent(min=numbers[0], opt=numbers[1], max=numbers[2])


def parse_plan_precisions(text: str) -> tuple[str, ...]:
    """``fp16,fp32`` -> its names. Raises InvalidValue: TensorRT quantises otherwise than our int8 graphs."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or not names:
        raise InvalidValue(f"{text!r}: precisions of plans are {' and '.join(PRECISIONS)}")
    return names
