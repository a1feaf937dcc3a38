"""The GPU, TensorRT release and input shapes that a version built by TensorRT is for."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from diptych.bundle.part import Part

PLAN_SUFFIX = ".plan"  # of files that TensorRT wrote (serialized engines)
MIN_LENGTH = 2  # of the start and the end token
MAX_EXTENT = 65536
USUAL_LENGTH = 16  # in tokens, of a caption or a label with start and end


class Extent(Part):
    """The smallest, the usual and the largest size of one dimension. Kernels are chosen for the usual one."""

    min: int = Field(ge=1, le=MAX_EXTENT)
    opt: int = Field(ge=1, le=MAX_EXTENT)
    max: int = Field(ge=1, le=MAX_EXTENT)

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"min, opt and max are {self}: each must be at least the one before")
        return self

    def holds(self, size: int) -> bool:
        """Whether the size lies within."""
        return self.min <= size <= self.max

    def __str__(self) -> str:
        return f"{self.min}:{self.opt}:{self.max}"


class Profile(Part):
    """An optimisation profile: the batch sizes and, for texts, the lengths in tokens of one choice of
    kernels.
    """

    batch: Extent
    length: Extent | None = None

    def holds(self, batch: int, length: int | None = None) -> bool:
        """Whether a batch of this size fits; `length` is the length of its texts."""
        return self.batch.holds(batch) and (
            self.length is None or length is None or self.length.holds(length)
        )

    def __str__(self) -> str:
        texts = "" if self.length is None else f" of {self.length} tokens"
        return f"batches of {self.batch}{texts}"


def usual_lengths(lengths: Sequence[int]) -> Extent:
    """The extent of ascending text lengths, with kernels chosen for short texts where these may occur."""
    shortest, longest = lengths[0], lengths[-1]
    return Extent(min=shortest, opt=min(max(shortest, USUAL_LENGTH), longest), max=longest)


Profiles = Annotated[list[Profile], Field(min_length=1, max_length=8)]


class TensorrtBuild(Part):
    """The only GPU and TensorRT release that the graphs of a version run on."""

    gpu: str = Field(min_length=1, max_length=256)  # its name, as the driver gives it
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
    """Raises ValueError if a batch of images, or of texts of one of the lengths, falls between profiles.

    A batch larger than all profiles runs in parts, and the last part may have any size from 1 up.
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
        raise ValueError(f"{what} have no profile for a batch of {reached + 1}")
