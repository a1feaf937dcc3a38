import asyncio
from pathlib import Path

import pytest

from diptych.bundle.repository import ModelRepository
from diptych.core.catalogue import Catalogue
from diptych.errors import NotFound
from support.tiny_bundle import write_tiny_bundle
from unit.core.core_fakes import model_info


def test_catalogue_lists_all_versions_and_marks_the_served_one(tmp_path: Path) -> None:
    for name in ("tiny", "tiny", "other"):
        write_tiny_bundle(tmp_path, name)
    (tmp_path / "tiny" / "1" / "manifest.json").write_text("{}")
    catalogue = Catalogue(ModelRepository(tmp_path), model_info(name="tiny", version=2))

    async def run() -> None:
        assert [(one.name, one.versions, one.active) for one in await catalogue.models()] == [
            ("other", (1,), None),
            ("tiny", (1, 2), 2),
        ]
        broken, served = await catalogue.versions("tiny")
        assert (broken.active, broken.manifest) == (False, None)
        assert broken.error is not None
        assert "manifest.json" in broken.error
        assert (served.active, served.error) == (True, None)
        with pytest.raises(NotFound):
            await catalogue.versions("absent")

    asyncio.run(run())
