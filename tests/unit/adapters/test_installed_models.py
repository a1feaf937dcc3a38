"""A model that is installed as a package is found by its entry point."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from diptych.adapters.installed_models import InstalledModel, installed_model, is_installed
from diptych.settings import read_settings

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package with a model, of which some folders may be missing; return its folder."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    for name in ("DIPTYCH_MODEL_REPO", "DIPTYCH_GALLERY", "DIPTYCH_MODEL"):
        monkeypatch.delenv(name, raising=False)

    def install(model: str, *folders: str) -> Path:
        package_name = f"model_{model}_{tmp_path.name}"  # a module is imported once
        package = tmp_path / "site" / package_name
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        for folder in folders:
            (package / folder).mkdir(parents=True)
        described = tmp_path / "site" / f"{package_name}-1.0.dist-info"
        described.mkdir()
        named = f"Metadata-Version: 2.1\nName: {package_name}\nVersion: 1.0\n"
        (described / "METADATA").write_text(named)
        (described / "entry_points.txt").write_text(f"[diptych.models]\n{model} = {package_name}\n")
        return package

    return install


def test_repository_and_gallery_of_an_installed_model_are_found(install: Install) -> None:
    package = install("first", "model_repo/first", "gallery")
    install("second", "model_repo/second")
    assert installed_model("first") == InstalledModel(package / "model_repo", package / "gallery")
    second = installed_model("second")
    assert second is not None
    assert second.gallery is None
    assert installed_model("third") is None


def test_package_without_its_files_counts_as_not_installed(install: Install) -> None:
    install("first")
    assert installed_model("first") is None


def test_repository_of_a_package_is_told_from_other_folders(install: Install, tmp_path: Path) -> None:
    package = install("first", "model_repo/first")
    assert is_installed(package / "model_repo")
    assert not is_installed(tmp_path)


@pytest.mark.parametrize(
    ("given", "repository", "gallery"),
    [
        ({}, "installed", "installed"),
        ({"model_repo": "mine"}, "mine", None),
        ({"gallery": "off"}, "installed", None),
        ({"gallery": "pictures"}, "installed", "pictures"),
        ({"read_only": True}, "installed", None),
        ({"read_only": True, "gallery": "mine"}, "installed", "mine"),
        ({"model": "other"}, "model_repo", None),
    ],
)
def test_installed_model_is_served_with_its_gallery_unless_others_are_named(
    install: Install, given: dict[str, Any], repository: str, gallery: str | None
) -> None:
    package = install("everyday", "model_repo/everyday", "gallery")
    settings = read_settings(given)
    assert settings.model_repo == (package / "model_repo" if repository == "installed" else Path(repository))
    named = None if gallery is None else Path(gallery)
    assert settings.gallery == (package / "gallery" if gallery == "installed" else named)


def test_repository_that_is_there_comes_first(install: Install, tmp_path: Path) -> None:
    install("everyday", "model_repo/everyday", "gallery")
    (tmp_path / "model_repo").mkdir()
    settings = read_settings({})
    assert (settings.model_repo, settings.gallery) == (Path("model_repo"), None)
