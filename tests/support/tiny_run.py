"""A tiny packed data set of random drawings, and a tiny run folder with random weights.

dataset = write_tiny_dataset(tmp_path / "data")      # three sources a kind, images of 32 x 32 pixels
run_dir = write_tiny_run(tmp_path / "runs" / "tiny", image=TINY_RESNET)
"""

from pathlib import Path

import numpy as np
import torch

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.checkpoint import Checkpoint, write_checkpoint
from diptych_training.config import OptimConfig, RunConfig, TrainConfig, dump_config
from diptych_training.data.packed import (
    Kind,
    PackedDataset,
    PackedItem,
    SourceEntry,
    Split,
    read_dataset,
    write_index,
    write_source,
)
from diptych_training.data.pictograms.lists import emoji_classes
from diptych_training.models import (
    EfficientNetLiteConfig,
    ImageConfig,
    ModelConfig,
    PhotographsAndDrawingsConfig,
    PooledViTConfig,
    ResNetConfig,
    TextConfig,
    TextTowerConfig,
    ViTConfig,
    WordPiecesConfig,
    build_model,
)
from diptych_training.run_folder import RunFolder
from diptych_training.train.tokenizer import train_tokenizer, write_tokenizer

IMAGE_SIZE, EMBED_DIM, CONTEXT_LENGTH, VOCAB_SIZE = 32, 16, 12, 600
TINY_RESNET = ResNetConfig(block="basic", layers=(1, 1), width=16, heads=2, stem_pool=False)
TINY_VIT = ViTConfig(patch_size=8, width=32, layers=2, heads=2)
TINY_STEMMED_VIT = TINY_VIT.model_copy(update={"stem": (8, 16, 24)})
TINY_LITE = EfficientNetLiteConfig(width=0.25, depth=0.5)
TINY_PAIR = PhotographsAndDrawingsConfig(
    photograph_dim=6,
    photographs=TINY_LITE.model_copy(update={"classes": 5}),
    drawing_size=32,
    drawings=TINY_RESNET,
)
TINY_TEXT = TextConfig(vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, width=32, layers=2, heads=2)
TINY_WORD_PIECES = WordPiecesConfig(
    kind="word_pieces",
    vocab_size=60,
    context_length=CONTEXT_LENGTH,
    width=32,
    mean_dim=6,
    layers=2,
    heads=2,
)
ALIGNED = {
    "start_image": {"source": "lite.pth", "classes": "classes.txt", "drawings": "pictograms"},
    "text_teacher": {"source": "mini", "dims": 6},
}
TINY_POOLED_VIT = PooledViTConfig(patch_size=8, width=32, layers=2, heads=2, mlp_width=100)


def write_tiny_dataset(
    path: Path, n_icons: int = 530, size: int = IMAGE_SIZE, *, n_train: int = 20
) -> PackedDataset:
    """Write random drawings with labels: `train-set`, `choice-style`, `choice-set`, `new-style` and
    `new-set`.
    """
    rng = np.random.default_rng(0)
    entries = {
        name: _write_source(path, rng, name, split, kind, (n, size))
        for name, split, kind, n in (
            ("train-set", "train", "icons", n_train),
            ("choice-style", "validation", "emoji", 10),
            ("choice-set", "validation", "icons", n_icons),
            ("new-style", "eval", "emoji", 10),
            ("new-set", "eval", "icons", n_icons),
        )
    }
    write_index(PackedDataset(path, "tiny-drawings", size, entries))
    (path / "CARD.md").write_text("# tiny drawings\n\nMade of numbers.\n")
    return read_dataset(path)


def write_shareable_dataset(path: Path) -> PackedDataset:
    """A tiny data set with enough openly licensed drawings for a proof set."""
    return write_tiny_dataset(path, n_icons=1_000, n_train=210)


def tiny_image_spec() -> ImageSpec:
    """Letterboxed on white, with three different means, so that swapped channels are noticed."""
    return ImageSpec(
        size=IMAGE_SIZE,
        mean=(0.3, 0.5, 0.8),
        std=(0.2, 0.3, 0.4),
        interpolation="bicubic",
        resize_mode="longest",
        fill_color=(255, 255, 255),
        crop="round",
        alpha="white",
    )


def tiny_text_spec() -> TextSpec:
    """Cleaned as CLIP does, padded to the longest."""
    prompts = {"default": ["{}"], "drawing": ["a drawing of {}", "{} icon"]}
    return TextSpec(context_length=CONTEXT_LENGTH, clean="clip", pad_to="longest", pad_id=0, prompts=prompts)


def tiny_clip(
    image: ImageConfig, text: TextTowerConfig = TINY_TEXT, image_size: int = IMAGE_SIZE
) -> ModelConfig:
    """CLIP, by default with a causal text tower."""
    return ModelConfig(embed_dim=EMBED_DIM, image_size=image_size, image=image, text=text)


def tiny_siglip(image: PooledViTConfig) -> ModelConfig:
    """SigLIP, whose text tower attends to padding."""
    text = TextConfig(
        vocab_size=VOCAB_SIZE, context_length=CONTEXT_LENGTH, width=32, layers=2, heads=2, mlp_width=100,
        pool="last", causal=False, projection_bias=True,
    )  # fmt: skip
    return ModelConfig(
        embed_dim=image.width, image_size=IMAGE_SIZE, activation="gelu_tanh", norm_eps=1e-6,
        initial_scale=10, initial_bias=-10, image=image, text=text,
    )  # fmt: skip


def write_tiny_run(path: Path, image: ImageConfig = TINY_RESNET, seed: int = 0) -> Path:
    """Write a run folder as the trainer does, with a best checkpoint of random weights.

    A `PooledViTConfig` makes it a SigLIP with its text tower and loss; `TINY_PAIR` names files that need not
    exist.
    """
    folder = RunFolder(path)
    path.mkdir(parents=True)
    is_siglip = isinstance(image, PooledViTConfig)
    text_spec = tiny_text_spec()
    config = TrainConfig(
        **(ALIGNED if isinstance(image, PhotographsAndDrawingsConfig) else {}),
        name=path.name,
        loss="sigmoid" if is_siglip else "softmax",
        model=tiny_siglip(image) if isinstance(image, PooledViTConfig) else tiny_clip(image),
        preprocess=tiny_image_spec(),
        text=text_spec.model_copy(update={"pad_to": "context_length"}) if is_siglip else text_spec,
        optim=OptimConfig(warmup_steps=1),
        run=RunConfig(steps=1),
    )
    write_tokenizer(train_tokenizer(emoji_classes()[:50], VOCAB_SIZE), folder.tokenizer_file)
    folder.model_file.write_text(config.model.model_dump_json())
    folder.image_spec_file.write_text(config.preprocess.model_dump_json())
    folder.text_spec_file.write_text(config.text.model_dump_json())
    folder.config_file.write_text(dump_config(config))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(config.model)
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    write_checkpoint(folder.best, Checkpoint(tensors, {"step": 7, "metrics": {"icons_top1": 0.25}}))
    return path


def _write_source(
    path: Path, rng: np.random.Generator, name: str, split: Split, kind: Kind, n_and_size: tuple[int, int]
) -> SourceEntry:
    n_items, size = n_and_size
    blocks = rng.integers(0, 256, (n_items, 4, 4, 3), dtype=np.uint8)
    images = np.kron(blocks, np.ones((1, size // 4, size // 4, 1), np.uint8))
    labels = emoji_classes()[:n_items] if kind == "emoji" else [f"thing {index}" for index in range(n_items)]
    items = [
        PackedItem(id=f"{index}", label=label, near_train=index % 5 == 0)
        for index, label in enumerate(labels)
    ]
    write_source(path, split, name, images, items)
    floor = 0.1 if split == "eval" else None
    return SourceEntry(
        split=split,
        kind=kind,
        n=n_items,
        licence="MIT",
        author="nobody",
        recipe="0" * 64,
        pixel_1nn_top1=floor,
    )
