"""Plans that TensorRT builds of the fp16 graphs, as `diptych-train export --tensorrt` has them built."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu_check.findings import Finding, absent
from benchmarks.gpu_check.graphs import NAME
from benchmarks.gpu_check.parity import parity
from benchmarks.gpu_check.rates import rates
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.gpu_check.subject import Subject
from diptych.adapters.tensorrt_encoder import TensorrtEncoder
from diptych.adapters.tensorrt_library import tensorrt_version
from diptych.bundle.repository import ModelRepository
from diptych_training.plans.build import build_plan
from diptych_training.plans.graphs import write_for_tensorrt
from diptych_training.plans.request import PlanRequest

TIER, PRECISION = "plans", "fp16"


def measure_plans(sizes: Sizes, model_repo: Path, subject: Subject) -> Iterator[Finding]:
    """How long both take to build; then parity and pace of the server's own runner of plans."""
    if not model_repo.is_dir():
        yield absent(TIER, subject.name, "its graphs could not be made, see above")
        return
    repository, request = ModelRepository(model_repo), PlanRequest(ungated=True)
    version, files = repository.folder(NAME, 1), repository.manifest(NAME, 1).precisions.get(PRECISION)
    if files is None:
        yield absent(TIER, subject.name, f"{NAME}/1 has no {PRECISION}")
        return
    towers = (
        (files.image_file, request.image_profiles()),
        (files.text_file, request.text_profiles(subject.text_spec)),
    )
    with tempfile.TemporaryDirectory(prefix="diptych-gpu-check-") as name:
        plans = []
        began = time.perf_counter()
        for file, profiles in towers:
            typed, plan = Path(name) / file, Path(name) / f"{file}.plan"
            write_for_tensorrt(version / file, typed, subject.text_spec.context_length)
            build_plan(typed, plan, profiles, request)
            plans.append(plan)
        figures = {"seconds": time.perf_counter() - began}
        yield Finding(TIER, "made", f"plans {PRECISION}", figures, note=f"TensorRT {tensorrt_version()}")
        encoder = TensorrtEncoder(*plans)
    items = subject.sample.pixels, subject.sample.input_ids
    yield parity(TIER, f"plans {PRECISION}", encoder, items, subject.truth, PRECISION)
    yield from rates(TIER, f"plans {PRECISION}", encoder, subject, sizes)
