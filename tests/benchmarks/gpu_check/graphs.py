"""Publish the model as a bundle, as `diptych-train` would: graphs, rewrites and precisions of its exporter.

It cannot be gated, as there is no truth in random weights: servers take it with `--allow-ungated` alone.
"""

import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu_check.findings import Finding, say
from benchmarks.gpu_check.pictures import picture_files
from benchmarks.gpu_check.sizes import Sizes
from benchmarks.gpu_check.subject import Subject, TorchRun
from diptych.bundle.golden import write_golden
from diptych.bundle.manifest import GOLDEN_FILE, TOKENIZER_FILE, ManifestDraft, Precision
from diptych.bundle.repository import ModelRepository
from diptych.bundle.text import TextTokenizer
from diptych_training.export.calibration import Calibration, make_calibration
from diptych_training.export.files import IMAGE_FILE, TEXT_FILE, logit_scale
from diptych_training.export.golden_items import make_golden
from diptych_training.export.graphs import write_image_graph, write_text_graph
from diptych_training.export.parity import Embedded, ParitySample
from diptych_training.export.precisions import Workshop, make_precisions
from diptych_training.export.proof import Proof
from diptych_training.export.stages import Stages, Watcher

NAME = "gpu-check"
N_GOLDEN = 6


def write_bundle(model_repo: Path, sizes: Sizes) -> Iterator[Finding]:
    """Version 1 of `NAME`, unless it is there."""
    repository = ModelRepository(model_repo)
    if model_repo.is_dir() and repository.versions(NAME):
        yield Finding("graphs", "made", f"{NAME}/1", note="of an earlier run")
        return
    began = time.perf_counter()
    subject, watcher = Subject(sizes), Watcher(say, lambda _: None)
    model_repo.mkdir(parents=True, exist_ok=True)
    with repository.staging(NAME) as folder:
        (folder / TOKENIZER_FILE).write_text(subject.tokenizer_json, encoding="utf-8")
        write_image_graph(subject.model, subject.image_spec, folder / IMAGE_FILE)
        write_text_graph(subject.model, subject.text_spec, folder / TEXT_FILE)
        workshop = _workshop(folder, subject)
        made = make_precisions(workshop, sizes.precisions, watcher, Stages(watcher))
        write_golden(folder / GOLDEN_FILE, workshop.proof.golden)
        repository.publish(NAME, folder, workshop.make_draft(made.published))
    figures = {"seconds": time.perf_counter() - began}
    yield Finding("graphs", "made", f"{NAME}/1", figures, note=f"{subject.name}, {', '.join(made.published)}")


def _workshop(folder: Path, subject: Subject) -> Workshop:
    tokenizer = TextTokenizer(folder / TOKENIZER_FILE, subject.text_spec)
    rows = [tokenizer.ids(text)[0] for text in subject.sample.texts]

    def calibration() -> Calibration:
        return make_calibration(subject.sample.pixels, rows, subject.text_spec)

    return Workshop(
        folder=folder,
        proof=_proof(subject, tokenizer, rows),
        make_draft=partial(_draft, subject),
        calibration=cache(calibration),
        ungated=True,
    )


def _proof(subject: Subject, tokenizer: TextTokenizer, rows: list[np.ndarray]) -> Proof:
    reference = TorchRun(subject.model, subject.image_spec, torch.device("cpu"), torch.float32)
    images = [_opened(file) for file in picture_files(N_GOLDEN)]
    return Proof(
        embedded=Embedded(subject.truth[0], subject.text_truth),
        sample=ParitySample(subject.sample.pixels, rows, np.eye(len(rows), dtype=np.bool_)),
        text_spec=subject.text_spec,
        golden=make_golden(images, subject.sample.texts[:N_GOLDEN], reference, tokenizer, subject.image_spec),
    )


def _draft(subject: Subject, precisions: dict[str, Precision]) -> ManifestDraft:
    return ManifestDraft(
        family="clip",
        embed_dim=subject.config.embed_dim,
        logit_scale=logit_scale(subject.model),
        logit_bias=0.0,
        image=subject.image_spec,
        text=subject.text_spec,
        precisions=precisions,
        source={"kind": "training", "run": NAME, "note": "random weights, to measure speed with"},
        metrics={},
        data_card="none: these weights have learned nothing",
        licence="Apache-2.0",
        ungated=True,
    )


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")
