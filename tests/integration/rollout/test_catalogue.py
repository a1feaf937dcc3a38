import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diptych.adapters.files.kept_bundles import KeptBundles
from diptych.adapters.model_bundles import ModelBundles
from diptych.bundle.manifest import bundle_digest
from diptych.bundle.repository import ModelRepository
from diptych.core.catalogue import Catalogue
from diptych.core.tuning.precision import Choice, DeviceChoice, Execution, Running
from diptych.core.types import VersionRef
from diptych.errors import NotFound
from support.tiny_bundle import write_tiny_bundle

EXECUTION = Execution(Choice("fp32", "exact"), DeviceChoice("CPUExecutionProvider", None, "set"))
RUNNING = Running("fp32", "CPUExecutionProvider", None)


def ref_of(root: Path, name: str, version: int) -> VersionRef:
    return VersionRef(name, version, bundle_digest(ModelRepository(root).folder(name, version)))


def catalogue_of(folder: Path, active: VersionRef, others: Sequence[VersionRef] = ()) -> Catalogue:
    """The catalogue of a repository, of which no version of `other` can be served.

    `others` are in memory, like the active version.
    """
    repository = ModelRepository(folder)

    def loaded(ref: VersionRef) -> Any:
        return SimpleNamespace(ref=ref, running=RUNNING, execution=EXECUTION, calibration=None)

    return Catalogue(
        repository,
        lambda: loaded(active),
        lambda: [loaded(ref) for ref in others],
        ModelBundles(repository, KeptBundles(folder.parent / "kept"), lambda manifest: None),
        lambda manifest: "not on this GPU" if manifest.name == "other" else None,
    )


def test_active_version_is_listed_after_it_has_left_the_repository(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    write_tiny_bundle(repo, "other")
    write_tiny_bundle(repo, "tiny")
    ref = ref_of(repo, "tiny", 1)
    KeptBundles(tmp_path / "kept").add(ref.bundle, repo / "tiny" / "1")
    shutil.rmtree(repo / "tiny")
    catalogue = catalogue_of(repo, ref)

    async def run() -> None:
        assert [(one.name, one.active) for one in await catalogue.models()] == [("other", None), ("tiny", 1)]
        (entry,) = await catalogue.versions("tiny")
        assert entry.manifest is not None
        assert (entry.active, entry.manifest.name) == (True, "tiny")

    asyncio.run(run())


def test_catalogue_lists_all_versions_and_marks_the_served_one(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    for name in ("tiny", "tiny", "other"):
        write_tiny_bundle(repo, name)
    (repo / "tiny" / "1" / "manifest.json").write_text("{}")
    serving = replace(EXECUTION, running=RUNNING)
    catalogue = catalogue_of(repo, ref_of(repo, "tiny", 2))

    async def run() -> None:
        assert [(one.name, one.versions, one.active, one.serving) for one in await catalogue.models()] == [
            ("other", (1,), None, None),
            ("tiny", (1, 2), 2, serving),
        ]
        shown = [one.manifest for one in await catalogue.models()]
        assert [(one.name, one.version) for one in shown if one is not None] == [("other", 1), ("tiny", 2)]
        other, tiny = (one.ignored for one in await catalogue.models())
        assert other == {1: "not on this GPU"}
        assert list(tiny) == [1]
        assert "manifest.json" in tiny[1]
        assert [one.ignored for one in await catalogue.versions("other")] == ["not on this GPU"]
        broken, served = await catalogue.versions("tiny")
        assert (broken.active, broken.manifest, broken.serving, broken.prompt_sets) == (False, None, None, ())
        assert broken.error is not None
        assert "manifest.json" in broken.error
        assert (served.active, served.error, served.serving) == (True, None, serving)
        assert (broken.ignored, served.ignored) == (None, None)
        assert served.prompt_sets == ("default", "plain", "label", "pictograms", "photos")
        with pytest.raises(NotFound):
            await catalogue.versions("absent")

    asyncio.run(run())
