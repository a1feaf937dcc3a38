"""The architecture of a model as data (`model.json`); builds nothing."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

Activation = Literal["quick_gelu", "gelu"]


class Frozen(BaseModel):
    """Immutable; an unknown key is an error that names it, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ResNetConfig(Frozen):
    """A ResNet as CLIP modified it (Radford et al. 2021, 2.4).

    `planes` are the channels of each stage before the block's expansion (4 for a bottleneck, 1 for a
    basic block); left out, they are the original's ``width * 1, 2, 4, 8``. `stem_pool` is the stem's
    average pooling: the original has it, small images lose too much to it.
    """

    kind: Literal["resnet"] = "resnet"
    block: Literal["bottleneck", "basic"] = "bottleneck"
    layers: tuple[PositiveInt, ...] = Field(min_length=1)
    width: PositiveInt
    planes: tuple[PositiveInt, ...] | None = None
    heads: PositiveInt
    stem_pool: bool = True

    @model_validator(mode="after")
    def _check(self) -> "ResNetConfig":
        if self.planes is not None and len(self.planes) != len(self.layers):
            raise ValueError(f"planes has {len(self.planes)} stages, layers has {len(self.layers)}")
        if self.width % 2:
            raise ValueError(f"width is {self.width}, the stem halves it: it must be even")
        if self.n_features % self.heads:
            raise ValueError(
                f"heads {self.heads} does not divide the {self.n_features} features of the last stage"
            )
        return self

    @property
    def stage_planes(self) -> tuple[int, ...]:
        """Channels of each stage before expansion."""
        return self.planes or tuple(self.width * 2**stage for stage in range(len(self.layers)))

    @property
    def expansion(self) -> int:
        """Output channels of a block per plane."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def n_features(self) -> int:
        """Channels of the last feature map."""
        return self.stage_planes[-1] * self.expansion

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of the last feature map."""
        return (4 if self.stem_pool else 2) << (len(self.layers) - 1)


class ViTConfig(Frozen):
    """A vision transformer over square patches, class token first (Dosovitskiy et al. 2021)."""

    kind: Literal["vit"] = "vit"
    patch_size: PositiveInt
    width: PositiveInt
    layers: PositiveInt
    heads: PositiveInt

    @model_validator(mode="after")
    def _check(self) -> "ViTConfig":
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width}")
        return self

    @property
    def stride(self) -> int:
        """Pixels of the image per patch, along one side."""
        return self.patch_size


class TextConfig(Frozen):
    """A causal transformer over token ids."""

    vocab_size: PositiveInt
    context_length: int = Field(ge=3)
    width: PositiveInt
    layers: PositiveInt
    heads: PositiveInt

    @model_validator(mode="after")
    def _check(self) -> "TextConfig":
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} does not divide width {self.width}")
        return self


class ModelConfig(Frozen):
    """Both towers and the space that they share."""

    embed_dim: PositiveInt
    image_size: PositiveInt
    activation: Activation = "quick_gelu"
    image: Annotated[ResNetConfig | ViTConfig, Field(discriminator="kind")]
    text: TextConfig

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        if self.image_size % self.image.stride:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of the stride {self.image.stride}"
            )
        return self
