"""The forward and backward pass of a training step, over the whole batch at once or in chunks."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych_training.models.clip import CLIP
from diptych_training.objectives.clip import Clip
from diptych_training.objectives.contrastive import Contrastive, Pairs
from diptych_training.objectives.distillation import (
    Affinities,
    affinities,
    distillation_loss,
    mean_affinities,
    text_distillation_loss,
)
from diptych_training.objectives.predictive import PredictiveModel
from diptych_training.train.batches.batch import Batch, TeacherBatch, equal_keys
from diptych_training.train.distributed.parallel import average_unsharded_gradients, without_gradient_sync
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks
from diptych_training.train.teachers import Teachers


@dataclass(frozen=True)
class RngState:
    """The random state of torch on the CPU and on a process's GPU."""

    cpu: Tensor
    device: torch.device
    gpu: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> "RngState":
        """Capture the current state."""
        gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), device, gpu)

    def restore(self) -> None:
        """Return to this state, so that the same numbers are drawn again."""
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu, self.device)


@dataclass(frozen=True)
class PredictiveStep:
    """Computes losses and gradients of batches for an objective without a text tower.

    `towers` is the model itself or its DDP wrapper. Every item has a loss of its own: chunks and ranks only
    add up.
    """

    model: PredictiveModel
    towers: nn.Module
    precision: str = "fp32"
    chunk_size: int | None = None
    ranks: Ranks = SINGLE_RANK

    def forward_backward(self, batch: Batch) -> "Losses":
        """As `GradientStep.forward_backward`; the batch has targets."""
        assert batch.targets is not None
        n, device = len(batch.input_ids), next(self.model.parameters()).device
        total = torch.zeros((), device=device)
        chunks = list(_slices(n, self.chunk_size or n))
        for rows in chunks:
            inputs = (_to_device(t[rows], device) for t in (batch.images, batch.input_ids, batch.targets))
            with nullcontext() if rows is chunks[-1] else without_gradient_sync(self.towers):
                with autocast(device, self.precision):
                    loss = self.towers(*inputs)
                share = loss * (len(batch.input_ids[rows]) / n)
                share.backward()
            total += share.detach()
        return {"loss": self.ranks.mean(total)}


Features = tuple[Tensor, Tensor]
# `loss`, and its parts if there are several, by their names in the log: scalars on the device.
Losses = dict[str, Tensor]


@dataclass(frozen=True)
class GradientStep:
    """Computes losses and gradients of batches. `towers` is the model itself or its DDP wrapper."""

    model: CLIP
    towers: nn.Module
    objective: Contrastive = field(default_factory=Clip)
    precision: str = "fp32"
    chunk_size: int | None = None
    ranks: Ranks = SINGLE_RANK
    teachers: Teachers | None = None

    def forward_backward(self, batch: Batch) -> Losses:
        """Add the gradients of a batch to the model's. Returns the losses without waiting for the device.

        `batch` is this rank's share; losses and gradients are those of the whole batch, in every rank.
        `Stepper` tests whether they are finite.
        """
        # Its own backward pass, so that two graphs are not in memory together.
        of_texts = {} if batch.teacher_texts is None else self._teach_texts(batch.teacher_texts)
        n = len(batch.input_ids)
        chunks = list(_slices(n, self.chunk_size or n))
        # Teachers run first, while the graph of the model is not in memory.
        targets = self._teacher_targets(batch, chunks)
        values = (
            self._at_once(batch, targets) if len(chunks) == 1 else self._in_chunks(batch, chunks, targets)
        )
        average_unsharded_gradients(self.model, self.ranks)
        if batch.teacher_texts is None:
            return values
        total = values["loss"] + batch.teacher_texts.weight * sum(of_texts.values())
        return {"loss/contrastive": values["loss"], **values, "loss": total, **of_texts}

    def _teach_texts(self, teacher_texts: TeacherBatch) -> Losses:
        """Add the gradients of the text teacher's losses; returns them. DDP averages them together with those
        of the next backward pass.
        """
        input_ids, targets = (
            _to_device(t, self.ranks.device) for t in (teacher_texts.input_ids, teacher_texts.targets)
        )
        with autocast(self.ranks.device, self.precision):
            features = self.model.encode_text_start(input_ids, targets.shape[1])
        both = self.ranks.gather_with_gradient(torch.cat([features.float(), targets], dim=1))
        features, targets = both.tensor_split([features.shape[1]], dim=1)
        losses = {
            "loss/text_teacher": text_distillation_loss(features, targets, self.ranks.share(len(targets)))
        }
        if teacher_texts.shares is not None:
            with autocast(self.ranks.device, self.precision):
                logits = self.model.route_logits(input_ids)
            shares = _to_device(teacher_texts.shares, self.ranks.device)
            losses["loss/route"] = F.binary_cross_entropy_with_logits(logits[:, 0].float(), shares)
        total = torch.stack(list(losses.values())).sum()
        (teacher_texts.weight * total).backward()  # type: ignore[no-untyped-call]
        return self._values(losses)

    def _at_once(self, batch: Batch, targets: Affinities | None) -> Losses:
        losses = self._losses(*self._features(self.towers, batch, slice(None)), batch, targets)
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        return self._values(losses)

    def _in_chunks(self, batch: Batch, chunks: list[slice], targets: Affinities | None) -> Losses:
        """Gradient caching (Gao et al. 2021): compute the features of all chunks without gradients, then the
        gradients of the loss by the features, then each chunk again with gradients.

        Memory is that of one chunk; the gradients are the same.
        """
        features, states = self._cached_features(batch, chunks)
        images, texts = (side.requires_grad_() for side in features)
        losses = self._losses(images, texts, batch, targets)
        scalars = self._learned_scalars()
        image_gradients, text_gradients, *gradients = torch.autograd.grad(
            losses["loss"], [images, texts, *scalars]
        )
        for index, (rows, state) in enumerate(zip(chunks, states, strict=True)):
            is_last = index == len(chunks) - 1
            state.restore()
            with nullcontext() if is_last else without_gradient_sync(self.towers):
                chunk = self._features(self.towers, batch, rows)
                product = _dot(chunk[0], image_gradients[rows]) + _dot(chunk[1], text_gradients[rows])
                if is_last:  # its backward pass averages the gradients of all
                    product = product + sum(_dot(s, g) for s, g in zip(scalars, gradients, strict=True))
                product.backward()  # type: ignore[no-untyped-call]
        return self._values(losses)

    def _cached_features(self, batch: Batch, chunks: list[slice]) -> tuple[Features, list[RngState]]:
        """Return (b, D) features of both sides and the random state before each chunk; the model is
        unchanged.
        """
        buffers = copy_buffers(self.model)
        states, parts = [], []
        with torch.no_grad():
            for rows in chunks:
                states.append(RngState.now(self.ranks.device))
                parts.append(self._features(self.model, batch, rows))
            restore_buffers(self.model, buffers)
        return _concatenate(parts), states

    @torch.no_grad()
    def _teacher_targets(self, batch: Batch, chunks: list[slice]) -> Affinities | None:
        """The mean prediction of the teachers, each by its own scale; this rank's rows of the whole batch."""
        if self.teachers is None:
            return None
        predictions = []
        for teacher in self.teachers.models:
            own = _concatenate([self._features(teacher, batch, rows) for rows in chunks])
            images, texts = self._gather_features(*own)
            rows = self.ranks.share(len(images))
            predictions.append(affinities(images, texts, rows, teacher.logit_scale))
        return mean_affinities(predictions)

    def _features(self, towers: nn.Module, batch: Batch, rows: slice) -> Features:
        """(b, D) float32 of both sides; bfloat16 features would be rounded once more on their way between
        ranks.
        """
        device = self.model.logit_scale.device
        given = (batch.images, batch.input_ids, *(() if batch.pooled is None else (batch.pooled,)))
        inputs = (_to_device(t[rows], device) for t in given)
        with autocast(device, self.precision):
            images, texts = towers(*inputs)
        return images.float(), texts.float()

    def _losses(
        self, images: Tensor, texts: Tensor, batch: Batch, targets: Affinities | None
    ) -> dict[str, Tensor]:
        """This rank's part of the loss of the whole batch, against the features of all ranks, with its parts
        by name.
        """
        all_images, all_texts = self._gather_features(images, texts)
        positives = equal_keys(self.ranks.gather(_to_device(batch.keys, all_images.device)))  # (B, B)
        model, rows = self.model, self.ranks.share(len(all_images))
        pairs = Pairs(all_images, all_texts, positives, rows)
        loss = self.objective.loss(pairs, model.logit_scale, model.logit_bias)
        parts = {}
        if self.teachers is not None and targets is not None:
            rows, weight = self.teachers.distilled_rows(batch), self.teachers.weight
            distilled = distillation_loss(pairs, targets, model.logit_scale, rows)
            parts = {"loss/contrastive": loss, "loss/distill": distilled}
            loss = (1 - weight) * loss + weight * distilled
        # Every scalar takes part in the graph, even if the loss ignores it: DDP waits for all gradients.
        return {"loss": loss + sum(0 * scalar for scalar in self._learned_scalars()), **parts}

    def _values(self, losses: dict[str, Tensor]) -> Losses:
        """The means of the losses over all ranks."""
        return {name: self.ranks.mean(loss.detach()) for name, loss in losses.items()}

    def _gather_features(self, images: Tensor, texts: Tensor) -> Features:
        """(b, D) of both sides -> (B, D) of all ranks."""
        both = self.ranks.gather_with_gradient(torch.cat([images, texts], dim=1))  # (B, 2D)
        all_images, all_texts = both.tensor_split(2, dim=1)
        return all_images, all_texts

    def _learned_scalars(self) -> list[Tensor]:
        """The learned scalars of the loss."""
        scalars = (self.model.logit_scale, self.model.logit_bias)
        return [scalar for scalar in scalars if scalar is not None and scalar.requires_grad]


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Autocast to bfloat16, or do nothing. bfloat16 has float32's range, so no loss scaling is needed."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def copy_buffers(model: nn.Module) -> list[Tensor]:
    """Copy what a forward pass changes: the running statistics of batch normalisation."""
    return [buffer.clone() for buffer in model.buffers()]


def restore_buffers(model: nn.Module, copies: list[Tensor], unless: Tensor | None = None) -> None:
    """Restore the buffers from `copy_buffers`, unless the scalar `unless` on the device is true."""
    for buffer, copy in zip(model.buffers(), copies, strict=True):
        buffer.copy_(copy if unless is None else torch.where(unless, buffer, copy))


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device; the copy to a GPU is not waited for, as it would be from memory that is not pinned."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _concatenate(parts: list[Features]) -> Features:
    images, texts = zip(*parts, strict=True)
    return torch.cat(images), torch.cat(texts)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum()
