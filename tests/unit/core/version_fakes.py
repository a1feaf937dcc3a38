"""Versions that are loaded without a model."""

import threading
from typing import Any, cast

from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.serving.version import Version
from diptych.core.serving.versions import OnStep
from diptych.core.tuning.precision import Choice, DeviceChoice, Execution
from diptych.core.types import Target, VersionRef
from unit.core.core_fakes import FakeEncoder, FakeMetrics, IdleEncoder, fake_embedder, model_info

ONE, TWO = (Target(VersionRef("fake", n, f"{n}" * 64), "fp32", "exact") for n in (1, 2))
EXECUTION = Execution(Choice("fp32", ""), DeviceChoice("CPU", None, ""))


class Loads:
    """Loads versions without a model; `gate` holds loading up, `failure` is raised instead."""

    def __init__(self) -> None:
        self.loaded: list[Target] = []
        self.closed: list[Target] = []
        self.gate = threading.Event()
        self.gate.set()
        self.failure: Exception | None = None

    def __call__(self, target: Target, on_step: OnStep = lambda step: None) -> Version:
        assert self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        on_step("verified")
        self.loaded.append(target)
        encoder, ref = IdleEncoder(lambda: self.closed.append(target)), target.ref
        info = model_info(name=ref.name, version=ref.version, bundle=ref.bundle, precision=target.precision)
        embedder = fake_embedder(FakeEncoder())
        return Version(
            target=target,
            model=info,
            embedder=embedder,
            classifier=LabelClassifier(model=info, embedder=embedder, metrics=FakeMetrics()),
            canaries=(lambda on_start: None,) * 2,
            batchers=cast(Any, ()),
            timeout_s=60,
            encoder=encoder,
            execution=EXECUTION,
        )
