"""A training step's forward and backward pass, at once or in chunks; knows nothing of schedules or files."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diptych_training.models.clip import CLIP
from diptych_training.objectives.contrastive import LossKind, Pairs, pair_loss
from diptych_training.objectives.distillation import (
    Affinities,
    affinities,
    distillation_loss,
    mean_affinities,
)
from diptych_training.train.batches.batch import Batch, equal_keys
from diptych_training.train.distributed.parallel import average_unsharded_gradients, without_gradient_sync
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks
from diptych_training.train.teachers import Teachers


@dataclass(frozen=True)
class RngState:
    """What the CPU, and the GPU of a process, would draw next."""

    cpu: Tensor
    device: torch.device
    gpu: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "RngState":
        """The present one."""
        gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), device, gpu)

    def restore(self) -> None:
        """Draw from here on what was drawn then."""
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu, self.device)


Features = tuple[Tensor, Tensor]
# `loss`, and what it is made of where that is more than one, by names of the log: scalars on the device.
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class GradientStep:
    """How batches go through a model: `towers` is the model itself, or what spreads it over several ranks."""

    model: CLIP
    towers: nn.Module
    loss: LossKind = "softmax"
    label_smoothing: float = 0.0
    precision: str = "fp32"
    chunk_size: int | None = None
    ranks: Ranks = SINGLE_RANK
    teachers: Teachers | None = None

    def forward_backward(self, batch: Batch) -> Losses:
        """Add the gradients of a batch to the model's. Returns the loss; nothing here waits for the device.

        `batch` is this rank's share; loss and gradients are those of the whole batch, in every rank. Whether
        they are finite is for `Stepper` to find out.
        """
        n = len(batch.input_ids)
        chunks = list(_slices(n, self.chunk_size or n))
        # First: the model's graph is never in memory beside what teachers need.
        taught = self._taught(batch, chunks)
        values = self._at_once(batch, taught) if len(chunks) == 1 else self._in_chunks(batch, chunks, taught)
        average_unsharded_gradients(self.model, self.ranks)
        return values

    def _at_once(self, batch: Batch, taught: Affinities | None) -> Losses:
        losses = self._losses(*self._features(self.towers, batch, slice(None)), batch.keys, taught)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        return self._values(losses)

    def _in_chunks(self, batch: Batch, chunks: list[slice], taught: Affinities | None) -> Losses:
        """Gradient caching (Gao et al. 2021): the features of all chunks, then what the loss asks of them,
        and then each chunk again, with gradients. Memory is that of one chunk; the gradients are the same.
        """
        features, states = self._cached_features(batch, chunks)
        images, texts = (side.requires_grad_() for side in features)
        losses = self._losses(images, texts, batch.keys, taught)
        shared = self._shared()
        image_gradients, text_gradients, *gradients = torch.autograd.grad(
            losses["loss"], [images, texts, *shared]
        )
        for index, (rows, state) in enumerate(zip(chunks, states, strict=True)):
            is_last = index == len(chunks) - 1
            state.restore()
            with nullcontext() if is_last else without_gradient_sync(self.towers):
                again = self._features(self.towers, batch, rows)
                asked = _dot(again[0], image_gradients[rows]) + _dot(again[1], text_gradients[rows])
                if is_last:  # averaged by the same backward pass as all others
                    asked = asked + sum(_dot(s, g) for s, g in zip(shared, gradients, strict=True))
                asked.backward()  # type: ignore[no-untyped-call]
        return self._values(losses)

    def _cached_features(self, batch: Batch, chunks: list[slice]) -> tuple[Features, list[RngState]]:
        """(b, D) features of both sides, and the random state before each chunk; no trace in the model."""
        buffers = copy_buffers(self.model)
        states, found = [], []
        with torch.no_grad():
            for rows in chunks:
                states.append(RngState.now(self.ranks.device))
                found.append(self._features(self.model, batch, rows))
            restore_buffers(self.model, buffers)
        return _joined(found), states

    @torch.no_grad()
    def _taught(self, batch: Batch, chunks: list[slice]) -> Affinities | None:
        """What the teachers think in the mean, each by its own scale; this rank's rows of the whole batch."""
        if self.teachers is None:
            return None
        thoughts = []
        for teacher in self.teachers.models:
            own = _joined([self._features(teacher, batch, rows) for rows in chunks])
            images, texts = self._gathered(*own)
            rows = self.ranks.share(len(images))
            thoughts.append(affinities(images, texts, rows, teacher.logit_scale))
        return mean_affinities(thoughts)

    def _features(self, towers: nn.Module, batch: Batch, rows: slice) -> Features:
        """(b, D) float32 of both sides: bfloat16 would be rounded once more on its way between ranks."""
        device = self.model.logit_scale.device
        pixels, input_ids = _placed(batch.pixels[rows], device), _placed(batch.input_ids[rows], device)
        with autocast(device, self.precision):
            images, texts = towers(pixels, input_ids)
        return images.float(), texts.float()

    def _losses(
        self, images: Tensor, texts: Tensor, keys: Tensor, taught: Affinities | None
    ) -> dict[str, Tensor]:
        """This rank's part of the loss of the whole batch, against all ranks' features, and its parts."""
        all_images, all_texts = self._gathered(images, texts)
        positives = equal_keys(self.ranks.gather(_placed(keys, all_images.device)))  # (B, B)
        model, rows = self.model, self.ranks.share(len(all_images))
        pairs = Pairs(all_images, all_texts, positives, rows)
        loss = pair_loss(self.loss, pairs, model.logit_scale, model.logit_bias, self.label_smoothing)
        parts = {}
        if self.teachers is not None and taught is not None:
            distilled, weight = distillation_loss(pairs, taught, model.logit_scale), self.teachers.weight
            parts = {"loss/contrastive": loss, "loss/distill": distilled}
            loss = (1 - weight) * loss + weight * distilled
        # Every scalar takes part, whether the loss has a use for it or not: averaging waits for all.
        return {"loss": loss + sum(0 * scalar for scalar in self._shared()), **parts}

    def _values(self, losses: dict[str, Tensor]) -> Losses:
        """Those of the whole batch."""
        return {name: self.ranks.mean(loss.detach()) for name, loss in losses.items()}

    def _gathered(self, images: Tensor, texts: Tensor) -> Features:
        """(b, D) of both sides -> (B, D) of all ranks."""
        both = self.ranks.gather_with_gradient(torch.cat([images, texts], dim=1))  # (B, 2D)
        all_images, all_texts = both.tensor_split(2, dim=1)
        return all_images, all_texts

    def _shared(self) -> list[Tensor]:
        """The learned scalars of the loss."""
        scalars = (self.model.logit_scale, self.model.logit_bias)
        return [scalar for scalar in scalars if scalar is not None and scalar.requires_grad]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 where it is safe, or nothing: needs no loss scaling, since bfloat16 has float32's range."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def copy_buffers(model: nn.Module) -> list[Tensor]:
    """What a forward pass changes: the running statistics of batch normalisation."""
    return [buffer.clone() for buffer in model.buffers()]


def restore_buffers(model: nn.Module, copies: list[Tensor], unless: Tensor | None = None) -> None:
    """Take back what a forward pass changed since `copy_buffers`, unless a scalar on the device is true."""
    for buffer, copy in zip(model.buffers(), copies, strict=True):
        buffer.copy_(copy if unless is None else torch.where(unless, buffer, copy))


def _placed(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device; the copy to a GPU is not waited for, as it would be from memory that is not pinned."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _joined(parts: list[Features]) -> Features:
    images, texts = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(texts)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum()
