"""The architecture of a model as data (`model.json`)."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from diptych_training.schema import Frozen

Activation = Literal["quick_gelu", "gelu", "gelu_tanh"]
# Logit scale and bias with which training with the sigmoid loss begins (Zhai et al. 2023).
SIGMOID_START = {"initial_scale": 10.0, "initial_bias": -10.0}


class ResNetConfig(Frozen):
    """A ResNet as modified for CLIP (Radford et al. 2021, 2.4).

    `planes` are the channels of each stage before the block's expansion (4 for a bottleneck, 1 for a basic
    block); the default is the original's ``width * 1, 2, 4, 8``. `stem_pool` is the stem's average pooling:
    the original has it, but small images lose too much detail to it.
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
            raise ValueError(f"width is {self.width}, it must be even: the stem halves it")
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
    """A vision transformer over square patches, class token first (Dosovitskiy et al. 2021).

    `stem` are the channels of convolutions before the patches, each of which halves the image (Xiao et al.
    2021, "Early convolutions help transformers see better"): together they must make patches of
    `patch_size`. Empty, as in the original, patches are cut from the image itself. In training, the share
    `patch_dropout` of the patches of each image is left out, drawn in each step (Li et al. 2023, FLIP).
    """

    kind: Literal["vit"] = "vit"
    patch_size: PositiveInt
    width: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    stem: tuple[PositiveInt, ...] = ()
    patch_dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> "ViTConfig":
        _require_whole_heads(self.width, self.heads)
        if self.stem and 2 ** len(self.stem) != self.patch_size:
            raise ValueError(
                f"stem halves the image {len(self.stem)} times, which makes patches of "
                f"{2 ** len(self.stem)} pixels: patch_size is {self.patch_size}"
            )
        return self

    @property
    def stride(self) -> int:
        """Pixels of the image per patch, along one side."""
        return self.patch_size


class PooledViTConfig(Frozen):
    """SigLIP's vision transformer: no class token, attention pooling, and the width of the shared space.

    Zhai et al. 2023, with the pooling head of Zhai et al. 2022 ("Scaling vision transformers"). `mlp_width`
    defaults to four times the width. `crop_remainder` drops the pixels beyond the last whole patch, as the
    published model of 384 pixels with patches of 14 does; without it such a size is refused.
    """

    kind: Literal["pooled_vit"] = "pooled_vit"
    patch_size: PositiveInt
    width: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    mlp_width: PositiveInt | None = None
    crop_remainder: bool = False

    @model_validator(mode="after")
    def _check(self) -> "PooledViTConfig":
        _require_whole_heads(self.width, self.heads)
        return self

    @property
    def stride(self) -> int:
        """Pixels of the image per patch, along one side."""
        return self.patch_size


class LiteStage(NamedTuple):
    """Blocks of one shape; the first of them has the stride."""

    n_blocks: int
    kernel: int
    stride: int
    expansion: int
    planes: int


LITE_STAGES = (
    LiteStage(1, 3, 1, 1, 16),
    LiteStage(2, 3, 2, 6, 24),
    LiteStage(2, 5, 2, 6, 40),
    LiteStage(3, 3, 2, 6, 80),
    LiteStage(3, 5, 1, 6, 112),
    LiteStage(4, 5, 2, 6, 192),
    LiteStage(1, 3, 1, 6, 320),
)


class EfficientNetLiteConfig(Frozen):
    """EfficientNet-Lite: `width` multiplies the channels and `depth` the blocks of lite0 (Tan & Le 2019).

    Lite1 to lite4 are 1.0 and 1.1, 1.1 and 1.2, 1.2 and 1.4, 1.4 and 1.8. Stem and last convolution keep
    their size, and so do the numbers of blocks of the first and last stage.

    With `classes`, the tower keeps its classifier of that many classes and has no projection: an image's
    feature is the mean of the classes' embeddings, weighed by its class probabilities (ConSE, Norouzi et al.
    2014). `temperature` divides the class scores first. Without `norm`, convolutions have a bias in place of
    batch normalisation: a tower that no longer trains has it folded in.
    """

    kind: Literal["efficientnet_lite"] = "efficientnet_lite"
    width: PositiveFloat = 1.0
    depth: PositiveFloat = 1.0
    classes: PositiveInt | None = None
    temperature: PositiveFloat = 1.0
    norm: bool = True

    @property
    def stages(self) -> tuple[LiteStage, ...]:
        """The stages with their own numbers of blocks and channels."""
        fixed = (0, len(LITE_STAGES) - 1)
        return tuple(
            stage._replace(
                n_blocks=stage.n_blocks if index in fixed else math.ceil(stage.n_blocks * self.depth),
                planes=_of_eight(stage.planes * self.width),
            )
            for index, stage in enumerate(LITE_STAGES)
        )

    @property
    def n_stem(self) -> int:
        """Channels of the stem."""
        return 32

    @property
    def n_features(self) -> int:
        """Channels of the last feature map."""
        return 1280

    @property
    def stride(self) -> int:
        """Pixels of the image per cell of the last feature map."""
        return 32


def _of_eight(channels: float) -> int:
    """The nearest multiple of 8, but no less than nine tenths of the channels."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class PhotographsAndDrawingsConfig(Frozen):
    """Two towers over the same image, and a gate that weighs their features (Jacobs et al. 1991, "Adaptive
    mixtures of local experts").

    The first `photograph_dim` numbers of the embedding come from `photographs`, the others from `drawings`,
    which sees the image averaged to `drawing_size` pixels.
    """

    kind: Literal["photographs_and_drawings"] = "photographs_and_drawings"
    photograph_dim: PositiveInt
    photographs: EfficientNetLiteConfig
    drawing_size: PositiveInt
    drawings: ResNetConfig

    @model_validator(mode="after")
    def _check(self) -> "PhotographsAndDrawingsConfig":
        if self.drawing_size % self.drawings.stride:
            raise ValueError(
                f"drawing_size {self.drawing_size} is not a multiple of the stride {self.drawings.stride}"
            )
        return self

    @property
    def stride(self) -> int:
        """The image side must be a multiple of it: for the cells of one tower, and to average for the
        other.
        """
        return math.lcm(self.photographs.stride, self.drawing_size)


ImageConfig = Annotated[
    ResNetConfig | ViTConfig | PooledViTConfig | EfficientNetLiteConfig | PhotographsAndDrawingsConfig,
    Field(discriminator="kind"),
]


class TextConfig(Frozen):
    """A transformer over token ids.

    CLIP's text tower is causal and pools at the end-of-text token. SigLIP's attends to the whole text,
    padding included, and pools at the last position, so its texts are always padded to `context_length`.
    `mlp_width` defaults to four times the width, `activation` to the model's.
    """

    kind: Literal["transformer"] = "transformer"
    vocab_size: PositiveInt
    context_length: int = Field(ge=3)
    width: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    mlp_width: PositiveInt | None = None
    activation: Activation | None = None
    pool: Literal["end_of_text", "last"] = "end_of_text"
    causal: bool = True
    projection_bias: bool = False

    @model_validator(mode="after")
    def _check(self) -> "TextConfig":
        _require_whole_heads(self.width, self.heads)
        return self

    @property
    def sees_padding(self) -> bool:
        """Whether the tokens after the end of a text change its feature."""
        return not self.causal or self.pool == "last"


class WordPiecesConfig(Frozen):
    """A table of word pieces, read in two ways whose results stand side by side in the embedding.

    The first `mean_dim` numbers are a weighted mean of the pieces' rows (Model2Vec, Tulkens & van Dongen
    2024; the weights start as those of Arora et al. 2017): as good as a sentence encoder for names of a few
    words, blind to their order. The others come from a transformer over the same rows that attends to the
    whole text. Token 0 is padding, and the end-of-text token has the largest id.

    With `routed`, a scalar of each text weighs the two: "a photo of a cat" asks the numbers of photographs
    more than those of drawings.
    """

    kind: Literal["word_pieces"]
    vocab_size: PositiveInt
    context_length: int = Field(ge=3)
    width: PositiveInt
    mean_dim: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    mlp_width: PositiveInt | None = None
    activation: Activation | None = None
    routed: bool = False
    sees_padding: ClassVar[bool] = False
    projection_bias: ClassVar[bool] = True

    @model_validator(mode="after")
    def _check(self) -> "WordPiecesConfig":
        _require_whole_heads(self.width, self.heads)
        return self


def _text_kind(value: Any) -> str:
    """The kind of a text table; those of earlier versions have none."""
    kind = value.get("kind", "transformer") if isinstance(value, Mapping) else value.kind
    return str(kind)


TextTowerConfig = Annotated[
    Annotated[TextConfig, Tag("transformer")] | Annotated[WordPiecesConfig, Tag("word_pieces")],
    Discriminator(_text_kind),
]


def grid_width(image: ImageConfig) -> int:
    """The number of features of each cell before pooling. Raises ValueError for a pair of towers."""
    if isinstance(image, PhotographsAndDrawingsConfig):
        raise ValueError(f"a {image.kind} tower has no cells")
    return image.n_features if isinstance(image, ResNetConfig | EfficientNetLiteConfig) else image.width


class ModelConfig(Frozen):
    """Both towers and the embedding space that they share."""

    embed_dim: PositiveInt
    image_size: PositiveInt
    activation: Activation = "quick_gelu"
    norm_eps: PositiveFloat = 1e-5
    initial_scale: PositiveFloat = 1 / 0.07  # of cosines; Radford et al. 2021, 2.5
    initial_bias: float | None = None  # added to scaled cosines; required by the sigmoid loss (SigLIP: -10)
    projection: Literal["linear", "nonlinear"] = "linear"  # nonlinear: ReLU and a second layer (ConVIRT)
    image: ImageConfig
    text: TextTowerConfig

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        image = self.image
        is_cropped = isinstance(image, PooledViTConfig) and image.crop_remainder
        if self.image_size < image.stride or (self.image_size % image.stride and not is_cropped):
            raise ValueError(f"image_size {self.image_size} is not a multiple of the stride {image.stride}")
        if isinstance(image, PooledViTConfig) and image.width != self.embed_dim:
            raise ValueError(
                f"image.width {image.width} is not embed_dim {self.embed_dim}: a pooled_vit has no projection"
            )
        if isinstance(image, PooledViTConfig) and self.projection == "nonlinear":
            raise ValueError('projection is "nonlinear", but a pooled_vit has no projection')
        halves = {
            "image.photograph_dim": getattr(image, "photograph_dim", 0),
            "text.mean_dim": getattr(self.text, "mean_dim", 0),
        }
        if isinstance(self.text, WordPiecesConfig) and self.text.mean_dim > self.text.width:
            raise ValueError(
                f"text.mean_dim is {self.text.mean_dim}, it must be at most text.width, {self.text.width}"
            )
        for key, n in halves.items():
            if n >= self.embed_dim:
                raise ValueError(f"{key} is {n}, it must be below embed_dim, {self.embed_dim}")
        return self


def is_routed(model: ModelConfig) -> bool:
    """Whether a scalar of each text weighs the halves of its features."""
    return isinstance(model.text, WordPiecesConfig) and model.text.routed


def _require_whole_heads(width: int, heads: int) -> None:
    if width % heads:
        raise ValueError(f"heads {heads} does not divide width {width}")
