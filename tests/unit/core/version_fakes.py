"""Versions that are loaded without a model."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from diptych.bundle.encoder import StoppableEncoder
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.encoding.pipeline_pool import PipelinePool
from diptych.core.encoding.swappable_encoder import SwappableEncoder
from diptych.core.encoding.versions import LoadedVersion, OnStep
from diptych.core.tuning.precision import Choice, DeviceChoice, Running, Serving
from diptych.core.types import VersionRef
from unit.core.core_fakes import FakeEncoder, fake_embedder, model_info

ONE, TWO = VersionRef("fake", 1, "1" * 64), VersionRef("fake", 2, "2" * 64)
SERVING = Serving(Choice("fp32", ""), Choice("fp32", ""), DeviceChoice("CPU", None, ""))


class Loads:
    """Loads versions without a model; `gate` holds loading up, `failure` is raised instead."""

    def __init__(self) -> None:
        self.loaded: list[VersionRef] = []
        self.closed: list[VersionRef] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.upgrades: list[Callable[[], Awaitable[None]]] = []

    def __call__(self, ref: VersionRef, on_step: OnStep = lambda step: None) -> LoadedVersion:
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        on_step("verified")
        self.loaded.append(ref)
        encoder = SwappableEncoder(
            cast(StoppableEncoder, None),
            lambda: Running("fp32", "CPU", None),
            lambda: self.closed.append(ref),
        )
        info = model_info(name=ref.name, version=ref.version, bundle=ref.bundle)
        pipeline = EncoderPipeline(
            info, fake_embedder(FakeEncoder()), (lambda on_start: None,) * 2, cast(Any, ()), 60, encoder
        )
        pool = PipelinePool(pipeline, pipeline, precisions=["fp32"], open=lambda *_: pytest.fail("not asked"))
        return LoadedVersion(ref, pool, SERVING, self.upgrades)
