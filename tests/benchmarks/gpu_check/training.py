"""Training steps a second: ours as `diptych-train` does them, and open_clip's. Knows no data."""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.gpu_check.findings import Finding, absent
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.gpu_check.subject import Subject
from benchmarks.gpu_check.theirs import open_clip_model
from benchmarks.gpu_check.towers import why_not_compiled
from diptych_training.config import OptimConfig
from diptych_training.optim import Stepper, build_optimizer
from diptych_training.train.batches import Batch
from diptych_training.train.economies import compile_blocks
from diptych_training.train.step import Passes

TIER = "torch"
N_WARM = 3
LARGE_BYTES = 36e9  # of memory, in which the full batch fits
MAX_OFF = 0.02  # of the first loss, which bfloat16 rounds
CLIP_NORM, MAX_SCALE = 1.0, 100.0
OPTIM = OptimConfig(lr=1e-4, warmup_steps=1, grad_clip=CLIP_NORM)

Step = Callable[[int], float]  # the number of a step -> its loss


def measure_training(device: torch.device, sizes: Sizes, subject: Subject) -> Iterator[Finding]:
    """Forward, backward, clipping and AdamW of one batch in bfloat16; its tensors come from the host.

    Both begin with the same weights and the same batch: their first losses are the same, or one is wrong.
    """
    sizes = fitted(device, sizes)
    ours = _measured("diptych-train", _ours(device, sizes, subject), device, sizes)
    yield ours
    try:
        step = _theirs(device, sizes, subject)
    except ModuleNotFoundError as error:
        yield absent(TIER, "training with open_clip", f"package {error.name} is not installed")
        return
    theirs = _measured("open_clip", step, device, sizes)
    off = abs(ours.figures["first_loss"] / theirs.figures["first_loss"] - 1)
    note = f"{theirs.note}; the first losses differ by {off:.2%} (at most {MAX_OFF:.0%})"
    yield replace(theirs, ok=off <= MAX_OFF, note=note)


def measure_compiled_training(device: torch.device, sizes: Sizes, subject: Subject) -> Iterator[Finding]:
    """With `scale.compile`."""
    if reason := why_not_compiled(device, sizes):
        yield absent(TIER, "diptych-train with compile", reason)
        return
    sizes = fitted(device, sizes)
    step = _ours(device, sizes, subject, compiled=True)
    yield _measured("diptych-train with compile", step, device, sizes)


def fitted(device: torch.device, sizes: Sizes) -> Sizes:
    """With a smaller batch on a card of less memory."""
    if device.type != "cuda" or torch.cuda.get_device_properties(device).total_memory >= LARGE_BYTES:
        return sizes
    return replace(sizes, train_batch=sizes.train_batch // 4)


def _measured(name: str, step: Step, device: torch.device, sizes: Sizes) -> Finding:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    first_loss, *_ = [step(number) for number in range(N_WARM)]
    began = time.perf_counter()
    for number in range(sizes.train_steps):
        step(N_WARM + number)  # gives the loss as a float: the step has ended then
    took = time.perf_counter() - began
    figures = {"images_per_s": sizes.train_batch * sizes.train_steps / took, "first_loss": first_loss}
    if device.type == "cuda":
        figures["peak_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    return Finding(TIER, "training", name, figures, note=f"batch {sizes.train_batch}, bfloat16")


def _ours(device: torch.device, sizes: Sizes, subject: Subject, *, compiled: bool = False) -> Step:
    model = copy.deepcopy(subject.model).train()
    if compiled:
        compile_blocks(model, sizes.compiler)
    model.to(device).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, OPTIM)
    stepper = Stepper(model, optimizer, OPTIM, N_WARM + sizes.train_steps)
    passes = Passes(model, model, precision="bf16")
    pixels, input_ids = _items(subject, sizes.train_batch)
    keys = torch.arange(sizes.train_batch)[:, None].expand(-1, 2).contiguous()
    batch = Batch(pixels.contiguous(memory_format=torch.channels_last), input_ids, keys)

    def step(number: int) -> float:
        loss = passes.forward_backward(batch)["loss"]
        stepper.apply(number, loss)
        return float(loss)

    return step


def _theirs(device: torch.device, sizes: Sizes, subject: Subject) -> Step:
    """As open_clip's loop does a step with `--precision amp_bf16 --grad-clip-norm 1`."""
    model = open_clip_model(subject.config, subject.model.state_dict(), torch.float32).to(device).train()
    from open_clip.loss import ClipLoss  # noqa: PLC0415 - may be missing

    loss_of = ClipLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=OPTIM.lr, betas=(0.9, 0.98), eps=1e-6)
    pixels, input_ids = _items(subject, sizes.train_batch)
    # Its tokenizer pads to the context's length always; ours to the longest of the batch.
    padded = torch.zeros((len(input_ids), subject.config.text.context_length), dtype=torch.int64)
    padded[:, : input_ids.shape[1]] = input_ids

    def step(number: int) -> float:
        images, texts = pixels.to(device, non_blocking=True), padded.to(device, non_blocking=True)
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            image_features, text_features, logit_scale = model(images, texts)
            loss = loss_of(image_features, text_features, logit_scale)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM, norm_type=2.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, torch.tensor(MAX_SCALE).log().item())
        return float(loss)

    return step


def _items(subject: Subject, n: int) -> tuple[Tensor, Tensor]:
    """(B, 3, S, S) float32 and (B, L) int64, as workers hand them over."""
    torch.manual_seed(0)
    size = subject.config.image_size
    return torch.randn((n, 3, size, size)), torch.from_numpy(subject.input_ids(n)).long()
