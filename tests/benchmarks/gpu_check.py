"""`make gpu-check`: proves what this machine's GPU can run, and measures it, in one table.

    PYTHONPATH=tests python -m benchmarks.gpu_check [--quick] [--model NAME] [--write FILE]

Nothing is fetched or installed: what this environment has is measured, the rest is said to be absent. Each
check is a process of its own, so that one which ends its process leaves the others. Ends with 1 if anything
failed, or if a check that --require names is absent.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.report import command_line, commit, finish, versions
from benchmarks.report import parser as flags
from benchmarks.servers import REPOSITORY, modules_of
from diptych.adapters.faiss.cpu_index import FaissCpuIndex
from diptych.adapters.faiss.gpu_index import FaissGpuIndex
from diptych.adapters.faiss.gpu_rows import FaissGpu, require_gpu
from diptych.adapters.faiss.threads import IndexThreads
from diptych.adapters.gpu import first_gpu
from diptych.adapters.onnxruntime.cuda_provider import require_cuda
from diptych.adapters.onnxruntime.tensorrt_provider import TENSORRT_PROVIDER, require_tensorrt
from diptych.bundle.encoder import StoppableEncoder
from diptych.bundle.golden import Golden
from diptych.bundle.manifest import MANIFEST_FILE, ManifestDraft, Precision
from diptych.bundle.repository import ModelRepository
from diptych.core.tuning.execution_layout import SINGLE_WORKER_PLAN
from diptych.errors import ConfigError, DiptychError
from diptych.settings import Settings
from diptych.wiring.loading.bundles import LoadedBundle, VerifiedBundle, load_precision, verify_bundle
from diptych.wiring.loading.golden import warmed
from diptych.wiring.precisions.tensorrt import build_engines, with_tensorrt
from support.default_model import DEFAULT_MODEL, MODEL_REPO

MARKS = "gpu-check"
PACKAGES = ("onnxruntime-gpu", "tensorrt-cu13-libs", "faiss-gpu", "torch", "cuda-bindings", "numpy")
WITHIN_S = 1200.0  # which one check may take: engines take minutes
ROW = "row "  # what lines of a check's output that are rows begin with
EMBED_DIM, K, N_QUERIES, MAX_OFF = 512, 10, 50, 2e-5
TRAIN_BATCH, N_STEPS, MAX_LOSS_OFF = 256, 8, 0.02


@dataclass(frozen=True)
class Row:
    """`ok` is None where something is absent, and `said` why; else it is what was measured."""

    check: str
    what: str
    ok: bool | None
    said: str

    def cells(self) -> str:
        """One line of the table."""
        verdict = {None: "absent", True: "passed", False: "**failed**"}[self.ok]
        return f"| {self.check} | {self.what} | {verdict} | {self.said} |"


@dataclass(frozen=True)
class Task:
    """What is checked, and with how much."""

    model_repo: str
    model: str
    on_gpu: bool
    is_quick: bool

    @property
    def batches(self) -> tuple[int, ...]:
        return (1, 8) if not self.on_gpu else (1, 32, 256) if self.is_quick else (1, 8, 32, 128, 256)

    @property
    def seconds(self) -> float:
        return 0.05 if not self.on_gpu else 0.3 if self.is_quick else 1.0

    @property
    def n_rows(self) -> int:
        return 100_000 if self.is_quick else 1_000_000


def main() -> int:
    """0 unless something failed."""
    args = _parser().parse_args()
    task = Task(str(args.model_repo), args.model, args.device == "cuda", args.quick)
    if args.only:
        return _run_one(args.only, task)
    rows: list[Row] = []
    for name in CHECKS:
        for row in _in_process(name, sys.argv[1:]):
            print(row.cells(), file=sys.stderr, flush=True)
            rows.append(row)
    text = "\n".join([_conditions(), "", "| check | of | result | |", "|---|---|---|---|"])
    text = "\n".join([text, *(row.cells() for row in rows)])
    finish(text, args.write, MARKS)
    is_lacking = any(row.ok is None and row.check in args.require for row in rows)
    return 1 if is_lacking or any(row.ok is False for row in rows) else 0


def check_encoders(task: Task) -> Iterator[Row]:
    """Each precision: cosines to the golden rows, and items a second."""
    device = "cuda" if task.on_gpu else "cpu"
    if task.on_gpu:
        require_cuda()
    with tempfile.TemporaryDirectory(prefix="diptych-gpu-check-") as scratch:
        bundle = _with_fp16(_bundle(task), Path(scratch), task)
        for precision in [name for name in ("fp32", "fp16") if name in bundle.manifest.precisions]:
            if precision == "fp16" and not task.on_gpu:
                continue
            what = f"{task.model} {precision}"
            try:
                loaded = load_precision(bundle, precision, device=device, n_threads=0)
                yield _measured("encoders", what, _warm(loaded, task), task)
            except DiptychError as error:
                yield Row("encoders", what, False, _with_cause(error))


def check_tensorrt(task: Task) -> Iterator[Row]:
    """The engines of `diptych check --tensorrt`: built and proven as there, then opened as a server does."""
    if not task.on_gpu:
        raise ConfigError("it is for a GPU")
    require_tensorrt()
    with tempfile.TemporaryDirectory(prefix="diptych-gpu-check-") as scratch:
        bundle = _with_fp16(_bundle(task), Path(scratch), task)
        settings = Settings(
            tensorrt="auto", cache_dir=Path(scratch) / "cache", data_dir=Path(scratch) / "data"
        )
        for precision in [name for name in ("fp32", "fp16") if name in bundle.manifest.precisions]:
            what = f"{task.model} {precision}"
            try:
                loaded = load_precision(bundle, precision, device="cuda", n_threads=0)
                built = build_engines(loaded, settings)
                began = time.perf_counter()
                served = with_tensorrt(loaded, settings)
                opened = f"opened in {time.perf_counter() - began:.0f} s"
                row = _measured("tensorrt", what, _warm(served, task), task)
                is_ok = served.encoder.provider == TENSORRT_PROVIDER
                yield replace(row, ok=is_ok, said=f"{built}, {opened}; {row.said}")
            except DiptychError as error:
                yield Row("tensorrt", what, False, _with_cause(error))


def check_faiss(task: Task) -> Iterator[Row]:
    """Searches on the GPU beside those of the CPU, over the same rows."""
    if not task.on_gpu:
        raise ConfigError("it is for a GPU")
    require_gpu()
    yield asyncio.run(_searched(task.n_rows))


def check_training(task: Task) -> Iterator[Row]:
    """Steps of ViT-B/32 in bfloat16, whose first loss must be that of the CPU in float32."""
    for package in ("torch", "diptych_training"):
        if find_spec(package) is None:
            raise ConfigError(f"the package {package} is not installed")
    import torch  # noqa: PLC0415 - may be missing

    if task.on_gpu and not torch.cuda.is_available():
        raise ConfigError(f"torch {torch.__version__} finds no GPU")
    model = _vit_b_32(layers=None if task.on_gpu else 1)
    n_items, n_few = (TRAIN_BATCH, 16) if task.on_gpu else (2, 2)
    device, precision = ("cuda", "bf16") if task.on_gpu else ("cpu", "fp32")
    (expected,), _ = _losses(model, "cpu", "fp32", n_few, 1)
    (first,), _ = _losses(model, device, precision, n_few, 1)
    losses, per_s = _losses(model, device, precision, n_items, N_STEPS if task.on_gpu else 2)
    off = abs(first / expected - 1)
    said = f"{per_s:,.0f} images/s in batches of {n_items}; first loss off by {off:.2%}"
    is_finite = all(np.isfinite(losses))
    yield Row("training", f"ViT-B/32 {precision}", bool(off <= MAX_LOSS_OFF and is_finite), said)


CHECKS: dict[str, Callable[[Task], Iterator[Row]]] = {
    "encoders": check_encoders,
    "tensorrt": check_tensorrt,
    "faiss": check_faiss,
    "training": check_training,
}


def _bundle(task: Task) -> VerifiedBundle:
    repository = ModelRepository(Path(task.model_repo))
    return verify_bundle(repository.folder(task.model, max(repository.versions(task.model))))


def _with_fp16(bundle: VerifiedBundle, scratch: Path, task: Task) -> VerifiedBundle:
    """The same with float16 graphs made of its float32 ones, where it has none and training is here."""
    manifest = bundle.manifest
    if not task.on_gpu or "fp16" in manifest.precisions or find_spec("diptych_training") is None:
        return bundle
    from diptych_training.export.fp16.convert import write_fp16  # noqa: PLC0415 - may be missing

    exact, repository = manifest.precisions["fp32"], ModelRepository(scratch / "made")
    half = Precision(image_file="image_encoder.fp16.onnx", text_file="text_encoder.fp16.onnx")
    (scratch / "made").mkdir()
    with repository.staging(manifest.name) as staged:
        shutil.copytree(
            bundle.folder, staged, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST_FILE)
        )
        write_fp16(bundle.folder / exact.image_file, staged / half.image_file)
        write_fp16(bundle.folder / exact.text_file, staged / half.text_file)
        kept = {key: getattr(manifest, key) for key in ManifestDraft.model_fields}
        precisions = {**manifest.precisions, "fp16": half}
        draft = ManifestDraft(**kept | {"precisions": precisions, "ungated": True})
        made = repository.publish(manifest.name, staged, draft)
    return verify_bundle(repository.folder(manifest.name, made))


def _warm(loaded: LoadedBundle, task: Task) -> LoadedBundle:
    """With batches of up to the largest size."""
    largest = max(task.batches)
    plan = replace(SINGLE_WORKER_PLAN, image_batch_size=largest, text_batch_size=largest)
    return warmed(replace(loaded, plan=plan))


def _measured(check: str, what: str, loaded: LoadedBundle, task: Task) -> Row:
    golden, encoder = loaded.bundle.golden, loaded.encoder
    rows = encoder.encode_image(golden.pixels), encoder.encode_text(golden.input_ids)
    low = min(
        float((found * true).sum(axis=1).min())
        for found, true in zip(rows, (golden.image_embedding, golden.text_embedding), strict=True)
    )
    rates = _rates(encoder, golden, task)
    encoder.close()
    # Its bound was held as it was loaded.
    return Row(check, what, True, f"cosines from {low:.6f}; {rates}")


def _rates(encoder: StoppableEncoder, golden: Golden, task: Task) -> str:
    """Items a second, from host to host."""
    told = []
    for name, items, encode in (
        ("images", golden.pixels, encoder.encode_image),
        ("texts", golden.input_ids, encoder.encode_text),
    ):
        rates = []
        for size in task.batches:
            batch = np.take(items, np.arange(size) % len(items), axis=0)
            rates.append(f"{size}: {size / _median_s(lambda b=batch, e=encode: e(b), task.seconds):,.0f}")
        told.append(f"{name}/s by batch {', '.join(rates)}")
    return "; ".join(told)


def _median_s(call: Callable[[], object], seconds: float) -> float:
    """Of one call, of as many as so many seconds have."""
    call()
    spent: list[float] = []
    while sum(spent) < seconds or len(spent) < 3:
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    return median(spent)


async def _searched(n_rows: int) -> Row:
    thread = IndexThreads(1)
    flat = FaissCpuIndex(EMBED_DIM, thread)
    index = FaissGpuIndex(EMBED_DIM, thread, FaissGpu(), min_rows=n_rows)
    for start in range(0, n_rows, 100_000):
        rows = _unit_rows(min(100_000, n_rows - start), seed=start)
        for one in (flat, index):
            await one.apply((), list(range(start, start + len(rows))), rows)
    query, deadline = _unit_rows(1, seed=1)[0], time.monotonic() + WITHIN_S / 2
    while index.placement.device == "cpu" and time.monotonic() < deadline:
        await index.search(query, 0, None)  # the copy is made by the same thread, between them
    what = f"{n_rows:,} rows of {EMBED_DIM}, {K} hits"
    if index.placement.device == "cpu":
        return Row("faiss", what, False, index.placement.reason)
    spent: dict[object, list[float]] = {flat: [], index: []}
    off, n_same = 0.0, 0
    for query in _unit_rows(N_QUERIES, seed=2):
        answers = []
        for one in (flat, index):
            began = time.perf_counter()
            answers.append(await one.search(query, K, None))
            spent[one].append(1000 * (time.perf_counter() - began))
        (keys, cosines), (gpu_keys, gpu_cosines) = answers
        off = max(off, float(np.abs(cosines - gpu_cosines).max()))
        n_same += set(keys.tolist()) == set(gpu_keys.tolist())
    said = (
        f"{median(spent[index]):.2f} ms a query, {median(spent[flat]):.2f} on the CPU; {n_same} of "
        f"{N_QUERIES} with the same hits, cosines off by {off:.1e}"
    )
    return Row("faiss", what, off <= MAX_OFF, said)  # hits may differ where cosines are equal


def _unit_rows(n: int, seed: int) -> "np.ndarray":
    rows = np.random.default_rng(seed).standard_normal((n, EMBED_DIM), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _vit_b_32(layers: int | None) -> Any:
    """Its configuration, with so many layers where that is given."""
    from diptych_training.models.config import ModelConfig  # noqa: PLC0415 - may be missing
    from diptych_training.models.named_architectures import read_architecture  # noqa: PLC0415

    given = dict(read_architecture("ViT-B-32")["model"])
    if layers is not None:
        given |= {tower: {**given[tower], "layers": layers} for tower in ("image", "text")}
    return ModelConfig.model_validate(given)


def _losses(
    config: Any, device: str, precision: str, n_items: int, n_steps: int
) -> tuple[list[float], float]:
    """Of each step with the same seeded weights and items, and images a second."""
    import torch  # noqa: PLC0415 - may be missing

    from diptych_training.config import OptimConfig  # noqa: PLC0415
    from diptych_training.models.clip import build_model  # noqa: PLC0415
    from diptych_training.train.batches.batch import Batch  # noqa: PLC0415
    from diptych_training.train.optim import Stepper, build_optimizer  # noqa: PLC0415
    from diptych_training.train.step import GradientStep  # noqa: PLC0415

    torch.manual_seed(0)
    model = build_model(config).train().to(device).to(memory_format=torch.channels_last)
    optim = OptimConfig(lr=1e-4, warmup_steps=1, grad_clip=1.0)
    stepper = Stepper(model, build_optimizer(model, optim), optim, n_steps)
    passes = GradientStep(model, model, precision=precision)
    items = torch.Generator().manual_seed(0)
    pixels = torch.randn((n_items, 3, config.image_size, config.image_size), generator=items)
    ids = torch.randint(1, config.text.vocab_size - 1, (n_items, 16), generator=items)
    ids[:, -1] = config.text.vocab_size - 1  # where a text ends
    keys = torch.arange(n_items)[:, None].expand(-1, 2).contiguous()
    batch = Batch(pixels.contiguous(memory_format=torch.channels_last), ids, keys)
    losses, began = [], time.perf_counter()
    for number in range(n_steps):
        if number == 1:
            began = time.perf_counter()  # the first one is not warm
        loss = passes.forward_backward(batch)["loss"]
        stepper.apply(number, loss)
        losses.append(float(loss))
    return losses, n_items * max(1, n_steps - 1) / (time.perf_counter() - began)


def _run_one(name: str, task: Task) -> int:
    """In a process of its own: rows on standard output, as they are found."""
    try:
        for row in CHECKS[name](task):
            print(ROW + json.dumps(asdict(row)), flush=True)
    except ConfigError as error:
        print(ROW + json.dumps(asdict(Row(name, "", None, str(error)))), flush=True)
    os._exit(0)  # all is told: libraries that fall over each other when they are unloaded change nothing


def _in_process(name: str, arguments: Sequence[str]) -> Iterator[Row]:
    paths = [str(REPOSITORY / "tests"), modules_of(REPOSITORY)["PYTHONPATH"], os.environ.get("PYTHONPATH")]
    command = [sys.executable, "-m", "benchmarks.gpu_check", *arguments, "--only", name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=WITHIN_S, env=environment
        )
    except subprocess.TimeoutExpired:
        yield Row(name, "", False, f"it has not ended within {WITHIN_S:.0f} s")
        return
    for line in done.stdout.splitlines():
        if line.startswith(ROW):
            yield Row(**json.loads(line.removeprefix(ROW)))
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        yield Row(name, "", False, f"its process ended with {done.returncode}: {last}")


def _conditions() -> str:
    try:
        gpu = first_gpu()
        card = f"{gpu.name}, driver for CUDA {'.'.join(map(str, gpu.cuda))}"
    except ConfigError as error:
        card = str(error)
    there = {str(one.name) for one in distributions()}
    said = versions([name for name in PACKAGES if name in there])
    command = command_line("gpu-check", "GPU")
    return f"`{command}`, {datetime.now(UTC).date()}, commit {commit()}. {card}; {said}."


def _with_cause(error: DiptychError) -> str:
    """The error with what the runtime says."""
    return str(error) if error.__cause__ is None else f"{error}: {error.__cause__}"


def _parser() -> argparse.ArgumentParser:
    parser = flags(__doc__, quick="smaller and shorter")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a dry run, tiny")
    parser.add_argument("--model-repo", type=Path, default=MODEL_REPO, metavar="DIR")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="its newest version is measured")
    parser.add_argument("--require", nargs="+", choices=CHECKS, default=[], help="whose absence is a failure")
    parser.add_argument("--only", choices=CHECKS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
