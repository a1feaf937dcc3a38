"""The model that is measured: a real architecture with seeded random weights, and what it is fed.

Nothing is fetched: the tokenizer is learned from names, pictures are those of the gallery.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from benchmarks.gpu_check.pictures import GALLERY, picture_files
from benchmarks.gpu_check.sizes import TINY, Sizes
from diptych.bundle.encoder import Embeddings, InputIds, Pixels
from diptych.bundle.image import ImageLimits, load_pixels
from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych.bundle.text import clean
from diptych_training.models.clip import CLIP, build_model
from diptych_training.models.config import ModelConfig, TextConfig, ViTConfig
from diptych_training.models.named import read_architecture
from diptych_training.tokenizer import train_tokenizer

TINY_MODEL = ModelConfig(
    embed_dim=32,
    image_size=32,
    activation="quick_gelu",
    image=ViTConfig(patch_size=8, width=64, layers=2, heads=1),
    text=TextConfig(vocab_size=600, context_length=24, width=64, layers=2, heads=1),
)
SEED = 0
N_SAMPLE = 48  # items of a comparison
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's


@dataclass(frozen=True)
class Sample:
    """Items for one tower each: (N, S, S, 3) uint8, and N texts with their ids (N, L) int32."""

    pixels: Pixels
    texts: list[str]
    input_ids: InputIds


class Subject:
    """The model in float32 on the CPU, and its embeddings of the sample: the truth that all are held to."""

    def __init__(self, sizes: Sizes) -> None:
        self.name = sizes.model
        self.config = TINY_MODEL if sizes.model == TINY else _named(sizes.model)
        self.image_spec = ImageSpec(
            size=self.config.image_size, mean=MEAN, std=STD, interpolation="bicubic",
            resize_mode="shortest", crop="round", alpha="white",
        )  # fmt: skip
        self.text_spec = TextSpec(
            context_length=self.config.text.context_length, clean="clip", pad_to="longest", pad_id=0,
            prompts={"default": ["{}"]},
        )  # fmt: skip
        self._text_length = sizes.text_length

    @cached_property
    def model(self) -> CLIP:
        """The same weights every time, in evaluation mode."""
        torch.manual_seed(SEED)
        return build_model(self.config).eval()

    @cached_property
    def tokenizer_json(self) -> str:
        """A tokenizer whose ids the model knows."""
        learned = train_tokenizer(_names(), min(2_000, self.config.text.vocab_size))
        text: str = learned.to_str(pretty=False)
        return text

    @cached_property
    def sample(self) -> Sample:
        """Pictures of the gallery, and texts of one length, of random tokens between start and end."""
        pixels = np.stack([self.pixels_of(file) for file in picture_files(N_SAMPLE)])
        return Sample(pixels, _names()[:N_SAMPLE], self.input_ids(N_SAMPLE))

    def pixels_of(self, file: Path) -> Pixels:
        """(S, S, 3) as the server prepares it."""
        return load_pixels(file.read_bytes(), self.image_spec, ImageLimits(), "exact")

    def input_ids(self, n_texts: int) -> InputIds:
        """(N, L) int32; the last token has the highest id, as the end of a text has it in CLIP."""
        rng, vocab = np.random.default_rng(SEED), self.config.text.vocab_size
        ids = rng.integers(1, vocab - 2, (n_texts, self._text_length), dtype=np.int32)
        ids[:, 0], ids[:, -1] = vocab - 2, vocab - 1
        return ids

    def pixels(self, n_images: int) -> Pixels:
        """(N, S, S, 3): those of the sample over and over."""
        return np.take(self.sample.pixels, np.arange(n_images) % N_SAMPLE, axis=0)

    @cached_property
    def truth(self) -> tuple[Embeddings, Embeddings]:
        """Images and texts of the sample by float32 torch on the CPU: (N, D) each, of unit norm."""
        reference = TorchRun(self.model, self.image_spec, torch.device("cpu"), torch.float32)
        return reference.encode_image(self.sample.pixels), reference.encode_text(self.sample.input_ids)

    @cached_property
    def text_truth(self) -> Embeddings:
        """The sample's texts as a server reads them: through the tokenizer, each by itself. (N, D)."""
        learned = Tokenizer.from_str(self.tokenizer_json)
        rows = [np.array([learned.encode(clean(text, "clip")).ids], np.int32) for text in self.sample.texts]
        reference = TorchRun(self.model, self.image_spec, torch.device("cpu"), torch.float32)
        return np.concatenate(
            [reference.encode_text(row[:, : self.text_spec.context_length]) for row in rows]
        )

    @cached_property
    def gflop(self) -> dict[str, float]:
        """Of matrix products, for one image and for one text of the sample's length."""
        return {
            "images": _gflop(lambda run: run.encode_image(self.sample.pixels[:2]), self) / 2,
            "texts": _gflop(lambda run: run.encode_text(self.sample.input_ids[:2]), self) / 2,
        }


class TorchRun:
    """A torch model from host to host, as a server would call it: uint8 and int32 in, float32 rows out."""

    def __init__(self, model: nn.Module, spec: ImageSpec, device: torch.device, dtype: torch.dtype) -> None:
        self._model, self._device, self._dtype = model, device, dtype
        self._gain = torch.tensor([1 / (255 * std) for std in spec.std], device=device).view(1, 3, 1, 1)
        offsets = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
        self._offset = torch.tensor(offsets, device=device).view(1, 3, 1, 1)

    def encode_image(self, pixels: Pixels) -> Embeddings:
        """(B, S, S, 3) uint8 -> (B, D) float32 of unit norm."""
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)  # (B, 3, S, S)
            features = self._model.encode_image((batch * self._gain + self._offset).to(self._dtype))
            return _rows(features)

    def encode_text(self, input_ids: InputIds) -> Embeddings:
        """(B, L) int32 -> (B, D) float32 of unit norm."""
        with torch.inference_mode():
            return _rows(self._model.encode_text(torch.from_numpy(input_ids).to(self._device).long()))


def _names() -> list[str]:
    lines = (GALLERY / "items.jsonl").read_text(encoding="utf-8").splitlines()
    return sorted({str(json.loads(line)["metadata"]["name"]) for line in lines})


def _named(name: str) -> ModelConfig:
    found: dict[str, Any] = read_architecture(name)
    return ModelConfig.model_validate(found["model"])


def _rows(features: torch.Tensor) -> Embeddings:
    rows: Embeddings = torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()
    return rows


def _gflop(call: Any, subject: Subject) -> float:
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - only here, and slow to load

    counter = FlopCounterMode(display=False)
    run = TorchRun(subject.model, subject.image_spec, torch.device("cpu"), torch.float32)
    with counter:
        call(run)
    return float(counter.get_total_flops()) / 1e9
