import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych.core.catalogue import Catalogue
from diptych.core.tuning.precision import Choice, DeviceChoice, Running, Serving
from diptych.errors import NotFound
from support.tiny_bundle import write_tiny_bundle
from unit.core.core_fakes import model_info


def test_catalogue_lists_all_versions_and_marks_the_served_one(tmp_path: Path) -> None:
    for name in ("tiny", "tiny", "other"):
        write_tiny_bundle(tmp_path, name)
    (tmp_path / "tiny" / "1" / "manifest.json").write_text("{}")
    serving = Serving(
        Choice("int8", "faster"), Choice("fp32", "exact"), DeviceChoice("CPUExecutionProvider", None, "set")
    )
    running = [Running("int8", "CPUExecutionProvider", None)]
    catalogue = Catalogue(
        ModelRepository(tmp_path),
        model_info(name="tiny", version=2),
        serving,
        lambda manifest: "not on this GPU" if manifest.name == "other" else None,
        lambda: running,
    )

    async def run() -> None:
        assert [(one.name, one.versions, one.active, one.serving) for one in await catalogue.models()] == [
            ("other", (1,), None, None),
            ("tiny", (1, 2), 2, replace(serving, running=tuple(running))),
        ]
        other, tiny = (one.ignored for one in await catalogue.models())
        assert other == {1: "not on this GPU"}
        assert list(tiny) == [1]
        assert "manifest.json" in tiny[1]
        assert [one.ignored for one in await catalogue.versions("other")] == ["not on this GPU"]
        running.clear()  # what runs is asked for anew
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
