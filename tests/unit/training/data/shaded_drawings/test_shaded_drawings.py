"""Held-out shaded drawings as folders of classes."""

from pathlib import Path

import pytest

from diptych_training.data.clip_art.command import LEFT_OUT
from diptych_training.data.pictograms.lists import source_specs
from diptych_training.data.shaded_drawings.command import (
    FLUENT_3D,
    THEMES,
    theme_drawings,
    write_style,
)
from diptych_training.errors import DataError
from diptych_training.evaluate.benchmark.data_sets.find import find_data_sets

OXYGEN, TANGO = THEMES
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><rect width="5" height="9"/></svg>'


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package" / TANGO.folder
    for name in ("devices/input-mouse.svg", "places/user-trash.svg", "apps/gimp.svg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SVG)
    (folder / "devices" / "mouse.svg").symlink_to("input-mouse.svg")
    return tmp_path / "package"


def test_the_benchmark_reads_a_theme_by_its_names_without_programs_and_links(
    package: Path, tmp_path: Path
) -> None:
    assert write_style(tmp_path / "out", TANGO, theme_drawings(package, TANGO)) == 2
    (found,) = find_data_sets([str(tmp_path / "out" / "tango")], tmp_path, "eval")
    assert set(found.texts) == {"input mouse", "user trash"}
    assert "CC0-1.0" in (tmp_path / "out" / "tango" / "COPYRIGHT").read_text()


def test_another_package_is_refused(package: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="oxygen-icon-theme has no drawings in usr/share"):
        write_style(tmp_path / "out", OXYGEN, theme_drawings(package, OXYGEN))


def test_held_out_styles_are_in_no_training_data() -> None:
    packages = {one.package for one in source_specs()}
    assert packages.isdisjoint(one.package for one in (FLUENT_3D, *THEMES))
    assert "computer/icons" in LEFT_OUT  # themes of icons
    assert not any("GPL" in one.licence.replace("LGPL", "") for one in (FLUENT_3D, *THEMES))
