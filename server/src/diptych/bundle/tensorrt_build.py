"""What a version that TensorRT built says of its GPU, release and shapes. Knows no TensorRT."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from diptych.bundle.part import Part

PLAN_SUFFIX = ".plan"  # of files that TensorRT wrote
MIN_LENGTH = 2  # every text has its start and its end
MAX_EXTENT = 65536
USUAL_LENGTH = 16  # tokens of a caption or a label, start and end included


class Extent(Part):
    """The least, the usual and the largest size of one dimension: kernels are chosen for the usual one."""

    min: int = Field(ge=1, le=MAX_EXTENT)
    opt: int = Field(ge=1, le=MAX_EXTENT)
    max: int = Field(ge=1, le=MAX_EXTENT)

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"min, opt and max are {self}: each must be at least the one before")
        return self

    def holds(self, size: int) -> bool:
        """Whether such a size may come."""
        return self.min <= size <= self.max

    def __str__(self) -> str:
        return f"{self.min}:{self.opt}:{self.max}"


class Profile(Part):
    """Shapes that one choice of kernels is for: of a batch and, of texts, their length in tokens."""

    batch: Extent
    length: Extent | None = None

    def holds(self, batch: int, length: int | None = None) -> bool:
        """Whether such a batch may come; `length` is that of its texts."""
        return self.batch.holds(batch) and (
            self.length is None or length is None or self.length.holds(length)
        )

    def __str__(self) -> str:
        texts = "" if self.length is None else f" of {self.length} tokens"
        return f"batches of {self.batch}{texts}"


def usual_lengths(lengths: Sequence[int]) -> Extent:
    """All lengths that batches of texts have, which ascend; fastest at short ones where short ones come."""
    shortest, longest = lengths[0], lengths[-1]
    return Extent(min=shortest, opt=min(max(shortest, USUAL_LENGTH), longest), max=longest)


Profiles = Annotated[list[Profile], Field(min_length=1, max_length=8)]


class TensorrtBuild(Part):
    """Where the graphs of a version run, and nowhere else: on this GPU, with this release of TensorRT."""

    gpu: str = Field(min_length=1, max_length=256)  # as its driver calls it
    compute_capability: str = Field(pattern=r"^[0-9]+\.[0-9]+$")
    version: str = Field(pattern=r"^[0-9]+(\.[0-9A-Za-z]+)+$")  # such as 10.16.1.11
    image_profiles: Profiles
    text_profiles: Profiles

    @model_validator(mode="after")
    def _only_texts_have_a_length(self) -> Self:
        if any(profile.length is not None for profile in self.image_profiles):
            raise ValueError("image_profiles have no length")
        if any(profile.length is None for profile in self.text_profiles):
            raise ValueError("text_profiles need a length each")
        return self

    def __str__(self) -> str:
        return f"{self.gpu} (compute capability {self.compute_capability}) and TensorRT {self.version}"


def require_every_shape(build: TensorrtBuild, lengths: Sequence[int]) -> None:
    """Raises ValueError where a batch of images, or of texts of one of the lengths, falls between profiles.

    A batch that is larger than all of them runs in parts: what is left of it may be of any size from 1 up.
    """
    _require_every_batch([one.batch for one in build.image_profiles], "image_profiles")
    for length in lengths:
        taken = [one.batch for one in build.text_profiles if one.length is None or one.length.holds(length)]
        _require_every_batch(taken, f"text_profiles, for {length} tokens,")


def _require_every_batch(batches: Sequence[Extent], what: str) -> None:
    reached = 0
    for batch in sorted(batches, key=lambda one: one.min):
        if batch.min > reached + 1:
            break
        reached = max(reached, batch.max)
    if reached < max((batch.max for batch in batches), default=1):
        raise ValueError(f"{what} take no batch of {reached + 1}")
