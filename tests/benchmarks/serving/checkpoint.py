"""Save one checkpoint with seeded random weights as transformers does; a worker, since torch is large."""

import json
import shutil
from pathlib import Path

import torch

from benchmarks.import_full_size import make_clip
from benchmarks.serving.workers import answer

EMBED_DIM = 512


def make(folder: str, vision: dict[str, int], text: dict[str, int]) -> str:
    """The folder, which is there whole or not at all."""
    target = Path(folder)
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    torch.manual_seed(0)
    make_clip(part, vision=vision, text=text, embed_dim=EMBED_DIM)
    _name_as_published(part / "preprocessor_config.json")
    part.rename(target)
    return folder


def _name_as_published(file: Path) -> None:
    """The class name that published checkpoints have, which every release of the library reads."""
    config = json.loads(file.read_text(encoding="utf-8"))
    config["image_processor_type"] = "CLIPImageProcessor"
    file.write_text(json.dumps(config, indent=2), encoding="utf-8")


if __name__ == "__main__":
    answer(make)
