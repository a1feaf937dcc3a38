"""Versions that are loaded without a model."""

import threading
from typing import Any, cast

from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.encoding.versions import LoadedVersion, OnStep
from diptych.core.tuning.precision import Choice, DeviceChoice, Serving
from diptych.core.types import Target, VersionRef
from unit.core.core_fakes import FakeEncoder, IdleEncoder, fake_embedder, model_info

ONE, TWO = (Target(VersionRef("fake", n, f"{n}" * 64), "fp32", "exact") for n in (1, 2))
SERVING = Serving(Choice("fp32", ""), DeviceChoice("CPU", None, ""))


class Loads:
    """Loads versions without a model; `gate` holds loading up, `failure` is raised instead."""

    def __init__(self) -> None:
        self.loaded: list[Target] = []
        self.closed: list[Target] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None

    def __call__(self, target: Target, on_step: OnStep = lambda step: None) -> LoadedVersion:
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        on_step("verified")
        self.loaded.append(target)
        encoder, ref = IdleEncoder(lambda: self.closed.append(target)), target.ref
        info = model_info(name=ref.name, version=ref.version, bundle=ref.bundle, precision=target.precision)
        pipeline = EncoderPipeline(
            info, fake_embedder(FakeEncoder()), (lambda on_start: None,) * 2, cast(Any, ()), 60, encoder
        )
        return LoadedVersion(target, pipeline, SERVING)
