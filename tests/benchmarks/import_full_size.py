"""What importing a model of full size takes: seconds and peak memory of each stage, file sizes, parity.

Imports checkpoints of transformers with seeded random weights and small real tokenizers, each in a process of
its own, and prints the pipeline's own tables and one line for each model. Speed, memory and sizes are real;
the cosines of quantised graphs are not those of trained weights. Give TMPDIR a few gigabytes.

    PYTHONPATH=tests python tests/benchmarks/import_full_size.py --models vit-b-32,vit-l-14
"""

import argparse
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from diptych.bundle.repository import ModelRepository
from diptych_training.evaluate.table import markdown_table
from diptych_training.export.gate import MIN_IMAGES
from diptych_training.export.precisions import parse_precisions
from diptych_training.export.stages import Watcher
from diptych_training.importing.publish import import_checkpoint
from diptych_training.importing.source import find_source
from diptych_training.importing.statement import ImportStatement
from diptych_training.importing.subject import Choices
from support.hugging_face_tokenizers import clip_tokenizer, siglip_tokenizer

LARGE_VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
LARGE_VISION |= {"num_attention_heads": 16, "patch_size": 14}
LARGE_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
PEAK = re.compile(r"peak memory ([\d,]+) MB")
MB = 1e6


@dataclass
class Told:
    """What the pipeline said: its tables, and the highest memory of any stage."""

    tables: list[str] = field(default_factory=list)
    peak_mb: int = 0

    def hear(self, line: str) -> None:
        print(line, file=sys.stderr)
        if line.startswith("|"):
            self.tables.append(line)
        elif match := PEAK.search(line):
            self.peak_mb = max(self.peak_mb, int(match[1].replace(",", "")))


@dataclass(frozen=True)
class Imported:
    """One import, as the last table shows it."""

    tables: list[str]
    row: list[str]


def make_clip(folder: Path, *, vision: dict[str, int], text: dict[str, int], embed_dim: int) -> None:
    """CLIP with OpenAI's shapes; the vocabulary has its full size, the tokenizer knows less."""
    tokenizer = clip_tokenizer(77)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text_config = {**text, **ids, "pad_token_id": tokenizer.pad_token_id}
    config = CLIPConfig(text_config=text_config, vision_config=vision, projection_dim=embed_dim)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_siglip(folder: Path) -> None:
    """SigLIP B/16 for images of 256 pixels."""
    tokenizer = siglip_tokenizer(folder, 64)
    SiglipModel(SiglipConfig(vision_config={"image_size": 256})).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 256, "width": 256}).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


MODELS: dict[str, Callable[[Path], None]] = {
    "vit-b-32": partial(make_clip, vision={}, text={}, embed_dim=512),
    "vit-l-14": partial(make_clip, vision=LARGE_VISION, text=LARGE_TEXT, embed_dim=768),
    "siglip-b-16": make_siglip,
}


def make(name: str, folder: Path) -> None:
    """The checkpoint of one model, the same every time."""
    torch.manual_seed(0)
    MODELS[name](folder)


def import_one(name: str, checkpoint: Path, model_repo: Path, precisions: str, n_images: int) -> Imported:
    """Import a checkpoint by the pipeline, and look at what it published."""
    told = Told()
    statement = ImportStatement(
        name=name,
        precisions=parse_precisions(precisions),
        n_images=n_images,
        ungated=n_images < MIN_IMAGES,
    )
    find = partial(find_source, str(checkpoint), Choices())
    started = time.perf_counter()
    repository = ModelRepository(model_repo)
    version = import_checkpoint(find, repository, statement, Watcher(told.hear, lambda _: None))
    seconds = time.perf_counter() - started
    manifest = repository.verify(name, version)
    size = sum(entry.bytes for entry in manifest.files.values())
    checkpoint_size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    cosines = [
        f"{precision} {stated.parity.cosine_min:.7f}"
        for precision, stated in manifest.precisions.items()
        if stated.parity is not None
    ]
    row = [name, f"{checkpoint_size / MB:,.0f}", f"{seconds:,.0f}", f"{told.peak_mb:,}"]
    return Imported(told.tables, [*row, f"{size / MB:,.0f}", ", ".join(cosines)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", default="vit-b-32", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--precisions", default="fp32", help="such as fp32,int8")
    parser.add_argument("--proof-images", type=int, default=MIN_IMAGES, help="fewer publish ungated")
    args = parser.parse_args()
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        # Each task in a fresh process: its peak of memory is its own.
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool,
    ):
        for name in args.models.split(","):
            checkpoint, model_repo = Path(folder) / name, Path(folder) / "model_repo"
            pool.submit(make, name, checkpoint).result()
            imported = pool.submit(
                import_one, name, checkpoint, model_repo, args.precisions, args.proof_images
            ).result()
            print("\n\n".join([f"## {name}", *imported.tables]), end="\n\n", flush=True)
            rows.append(imported.row)
    header = ["model", "checkpoint, MB", "import, s", "peak memory, MB", "bundle, MB", "cosine_min"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
