"""The server's own encoders on the card: each version, precision and engine. Knows no HTTP."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

from benchmarks.gpu_check import card
from benchmarks.gpu_check.findings import Finding, absent, failed
from benchmarks.gpu_check.graphs import NAME
from benchmarks.gpu_check.parity import parity
from benchmarks.gpu_check.rates import rates
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.gpu_check.subject import Subject
from benchmarks.serving.places import REPOSITORY
from diptych.adapters.onnx_session import Device
from diptych.bundle.repository import ModelRepository
from diptych.core.plan import sizes_up_to
from diptych.errors import DiptychError
from diptych.wiring.bundles import VerifiedBundle, load_precision, verify_bundle

DEFAULT, DEFAULT_REPO = "pictograms", REPOSITORY / "model_repo"


def measure_default(tier: str, device: Device, sizes: Sizes) -> Iterator[Finding]:
    """The committed version, whose weights are trained: its golden items, in all precisions for a card."""
    repository = ModelRepository(DEFAULT_REPO)
    bundle = verify_bundle(repository, DEFAULT, max(repository.versions(DEFAULT)))
    golden = bundle.golden
    for precision in _precisions(bundle, sizes):
        name = f"{DEFAULT}/{bundle.manifest.version} {precision}"
        try:
            encoder = load_precision(bundle, precision, device=device, n_threads=0).encoder
        except DiptychError as error:
            yield failed(tier, name, error)
            continue
        items = golden.pixels, golden.input_ids
        yield parity(tier, name, encoder, items, (golden.image_embedding, golden.text_embedding), precision)


def measure_model(
    tier: str, device: Device, sizes: Sizes, model_repo: Path, subject: Subject
) -> Iterator[Finding]:
    """The architecture's bundle, with and without CUDA graphs: parity with torch on the CPU, and pace."""
    if not model_repo.is_dir():
        yield absent(tier, subject.name, "its graphs could not be made, see above")
        return
    bundle = verify_bundle(ModelRepository(model_repo), NAME, 1)
    for precision, captures in product(
        _precisions(bundle, sizes), (False, True) if device == "cuda" else (False,)
    ):
        name = f"onnxruntime {precision}{', CUDA graphs' * captures}"
        before = card.used_mb()
        try:
            encoder = load_precision(bundle, precision, device=device, n_threads=0, captures=captures).encoder
        except DiptychError as error:
            yield failed(tier, name, error)
            continue
        batches = sizes_up_to(max(sizes.batches))
        encoder.fit(batches, batches)
        items = subject.sample.pixels, subject.sample.input_ids
        yield parity(tier, name, encoder, items, subject.truth, precision)
        yield from rates(tier, name, encoder, subject, sizes)
        for tower, why_not in encoder.why_not_captured._asdict().items():
            if captures and why_not:
                yield failed(tier, name, f"{tower}s: {why_not}")
        after = card.used_mb()
        if before is not None and after is not None:
            note = "more of the card in use than before it was loaded"
            yield Finding(tier, "memory", name, {"peak_mib": after - before}, note=note)
        encoder.close()


def _precisions(bundle: VerifiedBundle, sizes: Sizes) -> list[str]:
    return [name for name in sizes.precisions if name in bundle.manifest.precisions]
