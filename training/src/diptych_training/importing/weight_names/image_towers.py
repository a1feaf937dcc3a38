"""Tensor names of image towers that other libraries train by themselves, as classifiers of ImageNet.

EfficientNet-Lite: timm's `tf_efficientnet_lite*`, and the package `efficientnet-lite-pytorch`. Their
classifier is taken only by a tower with `classes`; our projection and the classes' embeddings have no
counterpart.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from diptych_training.errors import TrainingConfigError
from diptych_training.importing.weight_names.entry import Entry, StateDict, layers
from diptych_training.importing.weight_names.layouts import moved_weights
from diptych_training.models import EfficientNetLiteConfig, ModelConfig, PhotographsAndDrawingsConfig
from diptych_training.models.depth import IMAGE, PHOTOGRAPHS
from diptych_training.models.efficientnet_lite import NORM_EPS, EfficientNetLite

NORM = ("weight", "bias", "running_mean", "running_var")
CLASSIFIERS = ("classifier", "_fc")  # timm's name, and that of efficientnet-lite-pytorch
COUNTER = "num_batches_tracked"
TIMMS = "conv_stem.weight"


def image_tower_weights(state: Mapping[str, Tensor], config: ModelConfig) -> StateDict:
    """Another library's weights of an image tower under our names, without projection or classes' embeddings.

    Of photographs and drawings, those of the photographs' tower. Raises TrainingConfigError for a kind of
    tower that cannot be started so, CheckpointError naming tensors that are missing, left over or of another
    shape.
    """
    image = config.image
    if isinstance(image, PhotographsAndDrawingsConfig):
        return _prefixed(f"{IMAGE}{PHOTOGRAPHS}", lite_weights(state, image.photographs))
    if isinstance(image, EfficientNetLiteConfig):
        return _prefixed(IMAGE, lite_weights(state, image))
    raise TrainingConfigError(
        f'start_image needs model.image.kind "efficientnet_lite" or "photographs_and_drawings", '
        f'not "{image.kind}"'
    )


def lite_weights(state: Mapping[str, Tensor], image: EfficientNetLiteConfig) -> StateDict:
    """As `image_tower_weights`, under the names within the tower. Without `norm`, batch normalisations are
    folded into the convolutions before them.
    """
    has_norms = image.model_copy(update={"norm": True})
    learned = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    if image.classes is None:
        learned = {name: learned[name] for name in learned if name.partition(".")[0] not in CLASSIFIERS}
    is_timms = TIMMS in learned
    pairs = _timm(image) if is_timms else _efficientnet_lite_pytorch(image)
    entries = [entry for ours, conv, norm in pairs for entry in _conv_norm(ours, conv, norm)]
    if image.classes is not None:
        entries += layers("classifier", CLASSIFIERS[0 if is_timms else 1])
    with torch.device("meta"):
        needed = EfficientNetLite(has_norms, embed_dim=1).state_dict()
    moved = moved_weights(learned, entries, needed)
    return moved if image.norm else _folded(moved)


def _folded(state: StateDict) -> StateDict:
    """Batch normalisations folded into the convolutions before them, which get a bias for it."""
    folded: StateDict = {}
    for name, tensor in state.items():
        before, dot, part = name.rpartition(".bn.")
        if not dot:
            folded.setdefault(name, tensor)
        elif part == "weight":
            gain = tensor / (state[f"{before}.bn.running_var"] + NORM_EPS).sqrt()
            folded[f"{before}.conv.weight"] = state[f"{before}.conv.weight"] * gain[:, None, None, None]
            folded[f"{before}.conv.bias"] = (
                state[f"{before}.bn.bias"] - state[f"{before}.bn.running_mean"] * gain
            )
    return folded


def _prefixed(prefix: str, state: StateDict) -> StateDict:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


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
