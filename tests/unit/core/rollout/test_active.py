"""The active version: taken once by a request, and loaded until the request ends."""

import asyncio
from typing import Any, cast

from diptych.core.classification.label_classifier import LabelClassifier
from diptych.core.encoding.pipeline import EncoderPipeline
from diptych.core.encoding.versions import LoadedVersions
from diptych.core.rollout.active import ActiveModel
from diptych.core.types import ModelInfo
from unit.core.core_fakes import FakeMetrics
from unit.core.version_fakes import ONE, TWO, Loads


def new_classifier(pipeline: EncoderPipeline) -> LabelClassifier:
    return LabelClassifier(model=pipeline.model, embedder=pipeline.embedder, metrics=FakeMetrics())


def test_request_keeps_its_version_loaded_while_another_becomes_active() -> None:
    async def run() -> None:
        loads = Loads()
        versions = LoadedVersions(loads)
        first = versions.adopt(loads(ONE))
        active = ActiveModel(versions, new_classifier, first)
        second = await versions.acquire(TWO)
        with active.using() as taken:
            former = active.switch(second)
            versions.release(former)
            assert former is taken.version is first
            assert active.now.version is second
            assert versions.loaded() == [first, second]
            assert taken.classifier.prompts == first.model.prompts
        assert versions.loaded() == [second]
        await versions.close()

    asyncio.run(run())


def test_each_active_model_is_reported() -> None:
    seen: list[ModelInfo] = []
    loads = Loads()
    versions = cast(Any, None)
    active = ActiveModel(versions, new_classifier, loads(ONE), on_switch=seen.append)
    active.switch(loads(TWO))
    assert [model.target for model in seen] == [ONE, TWO]
    assert active.now.pipeline.model == seen[-1]
