"""Tensor names of open_clip's models with a separate text tower.

Models without one (open_clip's `CLIP`) have the original names and need no mapping. SigLIP's image tower is
timm's.
"""

from collections.abc import Iterator

from diptych_training.importing.weight_names.entry import Entry, layers
from diptych_training.models import ModelConfig, PooledViTConfig
from diptych_training.models.count import meta_model

BLOCK = {
    "ln_1": "norm1",
    "ln_2": "norm2",
    "attn.out_proj": "attn.proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
SHARED = ("visual.", "logit_scale", "logit_bias")


def entries(config: ModelConfig) -> list[Entry]:
    """Entries for every tensor of a model."""
    names = list(meta_model(config).state_dict())
    shared = [name for name in names if name.startswith(SHARED)]
    text = [name for name in names if not name.startswith(SHARED)]
    if isinstance(config.image, PooledViTConfig):
        image = [*_siglip_image(config.image), *(_same(n) for n in shared if not n.startswith("visual."))]
    else:
        image = [_same(name) for name in shared]
    return [*image, *(_text(name, config) for name in text)]


def _same(name: str) -> Entry:
    return Entry(name, (name,))


def _text(name: str, config: ModelConfig) -> Entry:
    if config.text.projection_bias and name == "text_projection":  # a linear layer there, a matrix elsewhere
        return Entry(name, ("text.text_projection.weight",), is_transposed=True)
    if name == "text_projection_bias":
        return Entry(name, ("text.text_projection.bias",))
    return Entry(name, (f"text.{name}",))


def _siglip_image(image: PooledViTConfig) -> Iterator[Entry]:
    yield from layers("visual.conv1", "visual.trunk.patch_embed.proj")
    yield Entry("visual.positional_embedding", ("visual.trunk.pos_embed",), n_lead=1)
    for index in range(image.layers):
        block, theirs = f"visual.transformer.resblocks.{index}", f"visual.trunk.blocks.{index}"
        for our_part, their_part in BLOCK.items():
            yield from layers(f"{block}.{our_part}", f"{theirs}.{their_part}")
        for kind in ("weight", "bias"):
            yield Entry(f"{block}.attn.in_proj_{kind}", (f"{theirs}.attn.qkv.{kind}",))
    yield from layers("visual.ln_post", "visual.trunk.norm")
    yield from _probe_pool("visual.attnpool", "visual.trunk.attn_pool")


def _probe_pool(ours: str, theirs: str) -> Iterator[Entry]:
    yield Entry(f"{ours}.probe", (f"{theirs}.latent",), n_lead=2)
    for kind in ("weight", "bias"):
        names = (f"{theirs}.q.{kind}", f"{theirs}.kv.{kind}")
        yield Entry(f"{ours}.in_proj_{kind}", names, shares=(1, 2))
    yield from layers(f"{ours}.out_proj", f"{theirs}.proj")
    yield from layers(f"{ours}.ln", f"{theirs}.norm")
    yield from layers(f"{ours}.mlp.c_fc", f"{theirs}.mlp.fc1")
    yield from layers(f"{ours}.mlp.c_proj", f"{theirs}.mlp.fc2")
