import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from diptych.bundle.repository import ModelRepository
from diptych.core.catalogue import Catalogue
from diptych.core.encoding.pipeline_pool import PipelinePool
from diptych.core.encoding.versions import LoadedVersion
from diptych.core.tuning.precision import Choice, DeviceChoice, Running, Serving
from diptych.core.types import VersionRef
from diptych.errors import NotFound
from support.tiny_bundle import write_tiny_bundle


def loaded_pipeline(running: Running) -> Any:
    return SimpleNamespace(encoder=SimpleNamespace(running=lambda: running))


def catalogue_of(folder: Path, active: VersionRef, serving: Serving, loaded: list[Any]) -> Catalogue:
    """The catalogue of a repository, of which no version of `other` can be served."""
    repository, pipelines = ModelRepository(folder), SimpleNamespace(loaded=lambda: loaded)
    return Catalogue(
        repository,
        lambda: LoadedVersion(active, cast(PipelinePool, pipelines), serving),
        lambda ref: repository.folder(ref.name, ref.version),
        lambda manifest: "not on this GPU" if manifest.name == "other" else None,
    )


def test_active_version_is_listed_after_it_has_left_the_repository(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "repo", "other")
    write_tiny_bundle(tmp_path / "kept", "tiny")
    serving = Serving(Choice("fp32", "exact"), Choice("fp32", "exact"), DeviceChoice("CPU", None, "set"))
    pipelines = SimpleNamespace(loaded=list)
    catalogue = Catalogue(
        ModelRepository(tmp_path / "repo"),
        lambda: LoadedVersion(VersionRef("tiny", 1, "0" * 64), cast(PipelinePool, pipelines), serving),
        lambda ref: tmp_path / "kept" / "tiny" / "1",
        lambda manifest: None,
    )

    async def run() -> None:
        assert [(one.name, one.active) for one in await catalogue.models()] == [("other", None), ("tiny", 1)]
        (entry,) = await catalogue.versions("tiny")
        assert entry.manifest is not None
        assert (entry.active, entry.manifest.name, entry.serving) == (True, "tiny", serving)

    asyncio.run(run())


def test_catalogue_lists_all_versions_and_marks_the_served_one(tmp_path: Path) -> None:
    for name in ("tiny", "tiny", "other"):
        write_tiny_bundle(tmp_path, name)
    (tmp_path / "tiny" / "1" / "manifest.json").write_text("{}")
    serving = Serving(
        Choice("int8", "faster"), Choice("fp32", "exact"), DeviceChoice("CPUExecutionProvider", None, "set")
    )
    running = Running("int8", "CPUExecutionProvider", None)
    loaded = [loaded_pipeline(running)]
    catalogue = catalogue_of(tmp_path, VersionRef("tiny", 2, "0" * 64), serving, loaded)

    async def run() -> None:
        assert [(one.name, one.versions, one.active, one.serving) for one in await catalogue.models()] == [
            ("other", (1,), None, None),
            ("tiny", (1, 2), 2, replace(serving, running=(running,))),
        ]
        other, tiny = (one.ignored for one in await catalogue.models())
        assert other == {1: "not on this GPU"}
        assert list(tiny) == [1]
        assert "manifest.json" in tiny[1]
        assert [one.ignored for one in await catalogue.versions("other")] == ["not on this GPU"]
        loaded.clear()  # what runs is asked for anew
        broken, served = await catalogue.versions("tiny")
        assert (broken.active, broken.manifest, broken.serving, broken.prompt_sets) == (False, None, None, ())
        assert broken.error is not None
        assert "manifest.json" in broken.error
        assert (served.active, served.error, served.serving) == (True, None, replace(serving, running=()))
        assert (broken.ignored, served.ignored) == (None, None)
        assert served.prompt_sets == ("default", "plain", "label", "pictograms", "photos")
        with pytest.raises(NotFound):
            await catalogue.versions("absent")

    asyncio.run(run())
