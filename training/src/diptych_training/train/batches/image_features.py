"""Image features of what is locked (`lock.cache`): computed once, and read by every step instead of pixels.

They are kept as float32, so that a run has the losses that it would have without them. Half of their size
would not matter: 512 numbers take 2 kB, the 64 x 64 pixels that they stand for 12 kB.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from diptych.bundle.encoder import Pixels
from diptych.bundle.manifest import ImageSpec
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedSource
from diptych_training.evaluate.embedding import fit_pixels
from diptych_training.evaluate.torch_encoder import evaluating
from diptych_training.export.onnx.bundle_files import IMAGE_FILE, write_image_graph
from diptych_training.export.proof.calibration import run_graph
from diptych_training.files import file_lock, open_atomic, read_array
from diptych_training.models.clip import CLIP
from diptych_training.models.depth import IMAGE, PHOTOGRAPHS, has_depth, tower_of
from diptych_training.models.photographs_and_drawings import PhotographsAndDrawings
from diptych_training.progress import progress_bar
from diptych_training.train.batches.batch import PixelTransform
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks

FORMAT = 1  # of the files; higher whenever the same weights and pixels give other features
BLOCK = 512  # images of a file: what an interrupted computation loses at most
BATCH, PART_BATCH = 32, 4  # images that the tower gets at once; and its part in torch


class ImageFeatures:
    """Computes what a tower makes of stored images, or reads what an earlier call computed.

    Files are named after the weights, the preparation and the pixels.
    """

    def __init__(self, model: CLIP, config: TrainConfig, folder: Path, ranks: Ranks = SINGLE_RANK) -> None:
        self._model, self._device = model, model.logit_scale.device
        self._spec, self._transform = config.preprocess, PixelTransform(config, ranks)
        self._part = _photographs_part(model, config)
        n_features = config.model.embed_dim if self._part is None else self._part.gate.in_features
        self._shape = (n_features,)
        self._can_export = self._device.type == "cpu" and not config.scale.compile
        self._folder, self._ranks = folder / _identity(model, config), ranks

    def __call__(self, sources: Sequence[PackedSource]) -> Tensor:
        """(N, D) float32 features of all images in the order of the sources, of any norm: losses compare
        directions. (N, C) of the part for photographs, if only that is locked.

        Each rank begins with its share and takes from files what others have computed, on its machine or a
        shared folder.
        """
        blocks = [
            source.images[start : start + BLOCK]
            for source in sources
            for start in range(0, len(source.images), BLOCK)
        ]
        features = torch.empty(sum(map(len, blocks)), *self._shape)
        parts = list(zip(torch.split(features, [len(images) for images in blocks]), blocks, strict=True))
        first = len(parts) * self._ranks.rank // self._ranks.world_size
        with progress_bar(
            total=len(features), unit="image", desc="image features", disable=not self._ranks.is_first
        ) as bar:
            for part, images in parts[first:] + parts[:first]:
                part.copy_(self._read_or_compute(images))
                bar.update(len(images))
        return features

    def _read_or_compute(self, images: Pixels) -> Tensor:
        file = self._folder / f"{sha256(np.ascontiguousarray(images).data).hexdigest()}.npy"
        with file_lock(file.with_suffix(".lock")):  # other ranks and runs may need the same images
            stored = read_array(file, (len(images), *self._shape), np.float32)
            if stored is not None:
                return torch.from_numpy(stored)
            features = self._compute(images)
            with open_atomic(file) as out:
                np.save(out, features.numpy(), allow_pickle=False)
        return features

    def _compute(self, images: Pixels) -> Tensor:
        if self._part is not None:
            return self._compute_part(self._part, images)
        batches = np.array_split(images, range(BATCH, len(images), BATCH))
        if self._can_export:
            fitted = [_fit(np.asarray(some), self._spec) for some in batches]
            return torch.from_numpy(run_graph(self._graph(), fitted))
        with evaluating(self._model):
            parts = [
                self._model.encode_image(self._transform(np.array(some), step=0, seed=0).to(self._device))
                for some in batches
            ]
        return torch.cat(parts).float().cpu()

    def _compute_part(self, part: PhotographsAndDrawings, images: Pixels) -> Tensor:
        """(N, C) of the tower of photographs: few images at once, as `TorchEncoder` does it."""
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self._spec.mean, self._spec.std))
        rows = []
        with evaluating(part):
            for some in np.array_split(images, range(PART_BATCH, len(images), PART_BATCH)):
                pixels = torch.from_numpy(_fit(np.array(some), self._spec)).permute(0, 3, 1, 2).float() / 255
                rows.append(part.photographs.pooled(((pixels - mean) / std).to(self._device)).cpu())
        return torch.cat(rows)

    def _graph(self) -> Path:
        """The tower for onnxruntime, which takes a third of torch's time on a CPU: the weights are final."""
        file = self._folder / IMAGE_FILE
        with file_lock(file.with_suffix(".lock")):
            if not file.is_file():
                with evaluating(self._model), TemporaryDirectory(dir=self._folder) as written:
                    write_image_graph(self._model, self._spec, Path(written) / IMAGE_FILE)
                    # Large weights are next to the graph, which comes last: its presence means all are there.
                    for part in sorted(Path(written).iterdir(), key=lambda part: part.name == IMAGE_FILE):
                        part.rename(self._folder / part.name)
        return file


def _fit(images: Pixels, spec: ImageSpec) -> Pixels:
    """(B, S, S, 3) -> the size of the spec, as `PixelTransform` does it."""
    times, rest = divmod(spec.size, images.shape[1])
    if times > 1 and rest == 0:
        return images.repeat(times, axis=1).repeat(times, axis=2)
    return fit_pixels(images, spec)


def _photographs_part(model: CLIP, config: TrainConfig) -> PhotographsAndDrawings | None:
    """The tower whose part for photographs alone is locked; None for a tower that is locked whole."""
    is_part = config.drawing_size is not None and isinstance(model.visual, PhotographsAndDrawings)
    return model.visual if is_part else None  # type: ignore[return-value]


def _identity(model: CLIP, config: TrainConfig) -> str:
    """sha256 over all that decides which features an image has."""
    of_image = config.model.model_dump_json(exclude={"text", "initial_scale", "initial_bias"})
    part = "" if config.drawing_size is None else f"{IMAGE}{PHOTOGRAPHS}"  # the rest learns
    digest = sha256(f"{FORMAT}\n{of_image}\n{config.preprocess.model_dump_json()}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        if has_depth(name) and tower_of(name) == "image" and name.startswith(part):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()
