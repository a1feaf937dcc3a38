"""Random image changes (`augment`)."""

from pydantic import Field, PositiveFloat, model_validator

from diptych_training.schema import Frozen, Probability


class AugmentConfig(Frozen):
    """Random changes of training images. Each `..._probability` is per image; ranges lie around no change.

    There is no horizontal flip on purpose: left and right arrows mean different things.
    """

    affine_probability: Probability = 0.0
    scale: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.15)  # size of the drawing relative to the original
    translate: Probability = 0.06  # largest shift, as a fraction of the side
    rotate_deg: float = Field(default=8.0, ge=0, le=180)
    squeeze: Probability = 0.08  # largest change of aspect ratio
    thickness_probability: Probability = 0.0  # strokes grow or shrink by a pixel (min or max pooling)
    outline_probability: Probability = 0.0  # the drawing's edges alone, black on white
    blur_probability: Probability = 0.0  # binomial 3x3
    grayscale_probability: Probability = 0.0
    hue_probability: Probability = 0.0
    hue: Probability = 0.05  # largest turn of the colour wheel, as a fraction of a full turn
    color_probability: Probability = 0.0
    brightness: Probability = 0.2
    contrast: Probability = 0.2
    saturation: Probability = 0.4
    recolor_probability: Probability = 0.0  # black and white go to two random colours
    invert_probability: Probability = 0.0
    cutout_probability: Probability = 0.0
    cutout: Probability = 0.35  # side of the square, as a fraction of the image's

    @model_validator(mode="after")
    def _check(self) -> "AugmentConfig":
        if self.scale[0] > self.scale[1]:
            raise ValueError(
                f"scale is {self.scale[0]} to {self.scale[1]}: the smaller value must come first"
            )
        return self
