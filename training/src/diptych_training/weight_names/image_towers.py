"""Tensor names of image towers that other libraries train by themselves, as classifiers of ImageNet.

EfficientNet-Lite: timm's `tf_efficientnet_lite*`, and the package `efficientnet-lite-pytorch`. Their
classifier is left out, and our projection has no counterpart.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor

from diptych_training.errors import TrainingConfigError
from diptych_training.models import EfficientNetLiteConfig, ModelConfig
from diptych_training.models.count import meta_model
from diptych_training.models.depth import IMAGE
from diptych_training.weight_names.entry import Entry, StateDict
from diptych_training.weight_names.layouts import moved_weights

NORM = ("weight", "bias", "running_mean", "running_var")
NOT_OF_THE_TOWER = ("classifier.", "_fc.")
COUNTER = "num_batches_tracked"
TIMMS = "conv_stem.weight"


def image_tower_weights(state: Mapping[str, Tensor], config: ModelConfig) -> StateDict:
    """Another library's weights of an image tower under our names, without the projection.

    Raises TrainingConfigError for a kind of tower that cannot be started so, CheckpointError naming tensors
    that are missing, left over or of another shape.
    """
    image = config.image
    if not isinstance(image, EfficientNetLiteConfig):
        raise TrainingConfigError(
            f'start_image needs model.image.kind "efficientnet_lite", not "{image.kind}"'
        )
    learned = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith(NOT_OF_THE_TOWER) and not name.endswith(COUNTER)
    }
    pairs = _timm(image) if TIMMS in learned else _efficientnet_lite_pytorch(image)
    entries = [entry for ours, conv, norm in pairs for entry in _conv_norm(f"{IMAGE}{ours}", conv, norm)]
    return moved_weights(learned, entries, meta_model(config).state_dict())


def _conv_norm(ours: str, conv: str, norm: str) -> Iterator[Entry]:
    yield Entry(f"{ours}.conv.weight", (f"{conv}.weight",))
    for part in NORM:
        yield Entry(f"{ours}.bn.{part}", (f"{norm}.{part}",))


def _timm(image: EfficientNetLiteConfig) -> Iterator[tuple[str, str, str]]:
    """Our name, and theirs of the convolution and of its normalisation."""
    yield "stem", "conv_stem", "bn1"
    for stage, (_, expands, n_blocks) in enumerate(_blocks(image)):
        convs = [("depthwise", "conv_dw"), ("project", "conv_pw")]
        if expands:
            convs = [("expand", "conv_pw"), ("depthwise", "conv_dw"), ("project", "conv_pwl")]
        for block in range(n_blocks):
            at = f"blocks.{stage}.{block}"
            for number, (ours, conv) in enumerate(convs, start=1):
                yield f"{at}.{ours}", f"{at}.{conv}", f"{at}.bn{number}"
    yield f"blocks.{len(image.stages)}", "conv_head", "bn2"


def _efficientnet_lite_pytorch(image: EfficientNetLiteConfig) -> Iterator[tuple[str, str, str]]:
    """As `_timm`; blocks are counted through all stages."""
    yield "stem", "_conv_stem", "_bn0"
    for stage, (first, expands, n_blocks) in enumerate(_blocks(image)):
        for block in range(n_blocks):
            ours, theirs = f"blocks.{stage}.{block}", f"_blocks.{first + block}"
            if expands:
                yield f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"
            yield f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
            yield f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2"
    yield f"blocks.{len(image.stages)}", "_conv_head", "_bn1"


def _blocks(image: EfficientNetLiteConfig) -> Iterator[tuple[int, bool, int]]:
    """For each stage: how many blocks are before it, whether its blocks expand, and how many they are."""
    first = 0
    for stage in image.stages:
        yield first, stage.expansion > 1, stage.n_blocks
        first += stage.n_blocks
