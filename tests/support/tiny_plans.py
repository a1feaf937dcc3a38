"""A tiny version, and plans of it that a fake TensorRT built: no training, no torch.

version = write_tiny_plans(model_repo, tensorrt)        # of `tiny`/1, in fp16
"""

import shutil
from pathlib import Path
from typing import Any

from diptych.adapters.tensorrt.plan import build_plan
from diptych.bundle.manifest import ManifestDraft, Precision, TensorrtBuild
from diptych.bundle.repository import ModelRepository
from diptych_training.export.tensorrt.request import image_profiles, text_profiles
from support.fake_tensorrt import FakeTensorrt
from support.tiny_bundle import TINY

FILES = ("image_encoder.fp16.plan", "text_encoder.fp16.plan")


def write_tiny_plans(model_repo: Path, tensorrt: FakeTensorrt, *, of: int = 1, **changes: Any) -> int:
    """Plans of `tiny`/`of` as its next version; `changes` are of what its manifest says of TensorRT."""
    repository = ModelRepository(model_repo)
    manifest, folder = repository.manifest(TINY, of), repository.folder(TINY, of)
    stated = {
        "gpu": tensorrt.gpu.name,
        "compute_capability": ".".join(map(str, tensorrt.gpu.capability)),
        "version": tensorrt.version,
        "image_profiles": image_profiles(),
        "text_profiles": text_profiles(manifest.text),
    }
    exact = manifest.precisions["fp32"]
    with repository.staging(TINY) as staged:
        for file in ("tokenizer.json", "golden.npz"):
            shutil.copyfile(folder / file, staged / file)
        for graph, plan, profiles in zip(
            (exact.image_file, exact.text_file),
            FILES,
            (stated["image_profiles"], stated["text_profiles"]),
            strict=True,
        ):
            build_plan(folder / graph, staged / plan, profiles)
        image_file, text_file = FILES
        kept = {key: getattr(manifest, key) for key in ManifestDraft.model_fields}
        draft = ManifestDraft(
            **kept
            | {
                "precisions": {
                    "fp16": Precision(image_file=image_file, text_file=text_file, parity=exact.parity)
                },
                "tensorrt": TensorrtBuild(**stated | changes),
            }
        )
        return repository.publish(TINY, staged, draft)
