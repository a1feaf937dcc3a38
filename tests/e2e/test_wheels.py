"""The wheels of `make wheels` in a fresh environment, outside the repository."""

import os
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path

import httpx
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.documents import ROOT
from support.projects import declared
from support.server import log_lines

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
SOURCES = {
    "diptych": "server/src",
    "diptych_training": "training/src",
    "diptych_client": "clients/python/src",
}
N_PICTURES = len((ROOT / "server/gallery/items.jsonl").read_text(encoding="utf-8").splitlines())


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheels of the folders that `make wheels` names."""
    folder = tmp_path_factory.mktemp("wheels")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (line,) = (line for line in makefile.splitlines() if "wheel" in line and line.startswith("\t$(PIP)"))
    projects = [word for word in line.split() if word.startswith("./")]
    assert len(projects) == 4
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), *projects]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


def wheel(folder: Path, name: str) -> Path:
    (found,) = folder.glob(f"{name}-*.whl")
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_wheel_holds_every_file_of_its_package_and_the_licence(wheels: Path, name: str) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", SOURCES[name]],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    ours = {line.removeprefix(f"{SOURCES[name]}/") for line in listed if (ROOT / line).exists()}
    packed = {one for one in zipfile.ZipFile(wheel(wheels, name)).namelist() if ".dist-info/" not in one}
    assert packed == ours
    assert any(one.endswith("licenses/LICENSE") for one in zipfile.ZipFile(wheel(wheels, name)).namelist())


@pytest.mark.parametrize("name", SOURCES)
def test_wheel_asks_for_what_its_project_declares(wheels: Path, name: str) -> None:
    """`tests/architecture/test_imports_are_declared.py` shows that this is all that its package imports."""
    archive = zipfile.ZipFile(wheel(wheels, name))
    (file,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA"))
    asked = message_from_bytes(archive.read(file)).get_all("Requires-Dist", [])
    names = {canonicalize_name(Requirement(line).name) for line in asked}
    assert names == declared(SOURCES[name].removesuffix("/src"))


def test_wheel_of_the_default_model_has_its_newest_version_and_the_whole_gallery(wheels: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "model_repo/everyday", "server/gallery"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    file = wheel(wheels, "diptych_everyday")
    packed = zipfile.ZipFile(file).namelist()
    for line in listed:
        assert f"diptych_everyday/{line.removeprefix('server/')}" in packed
    described = tomllib.loads((ROOT / "server/everyday/pyproject.toml").read_text(encoding="utf-8"))
    newest = max(int(path.name) for path in (ROOT / "model_repo/everyday").iterdir() if path.is_dir())
    assert int(described["project"]["version"].partition(".")[0]) == newest


@contextmanager
def served(environment: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Run `diptych serve` of an environment; yield its address and its log."""
    log_file = folder / "server.log"
    command = [environment / "bin" / "diptych", "serve", "--port", "0", "--data-dir", folder / "data"]
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("DIPTYCH_", "PYTHON"))}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*map(str, command), "--log-format", "json"], cwd=folder, env=ours, stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 300
        while not any(line["message"] == "the gallery is loaded" for line in log_lines(log_file)):
            assert process.poll() is None, log_file.read_text()
            assert time.monotonic() < deadline, log_file.read_text()
            time.sleep(0.5)
        yield next(line["url"] for line in log_lines(log_file) if line["message"] == "ready"), log_file
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0, log_file.read_text()


@pytest.fixture(scope="module")
def environment(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with our wheels, and the packages of others as they are here."""
    folder = tmp_path_factory.mktemp("wheels_installed")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    packages = [wheel(wheels, name) for name in (*SOURCES, "diptych_everyday")]
    install = [environment / "bin" / "python", "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*map(str, [*install, *packages])], check=True, cwd=folder)
    (site,) = environment.glob("lib/python*/site-packages")
    # A plain path: links to our sources are not followed.
    (site / "others.pth").write_text(f"{Path(np.__file__).parents[1]}\n")
    return environment


def test_training_runs_from_its_wheel_outside_the_repository(environment: Path, tmp_path: Path) -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("DIPTYCH_", "PYTHON"))}
    for words in (["--help"], ["train", "--help"], ["export", "--help"]):
        command = [str(environment / "bin" / "diptych-train"), *words]
        done = subprocess.run(command, cwd=tmp_path, env=ours, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: diptych-train")
    source = "import diptych_training; print(diptych_training.__file__)"
    python = [str(environment / "bin" / "python"), "-c", source]
    printed = subprocess.run(
        python, cwd=tmp_path, env=ours, capture_output=True, text=True, check=True
    ).stdout
    assert Path(printed.strip()).is_relative_to(environment)


def test_wheels_serve_the_default_model_with_its_gallery_outside_the_repository(
    environment: Path, tmp_path: Path
) -> None:
    with served(environment, tmp_path) as (url, log_file):
        ready = next(line for line in log_lines(log_file) if line["message"] == "ready")
        assert (ready["model"], ready["version"]) == ("everyday", 2)
        with httpx.Client(base_url=url, timeout=60) as client:
            found = client.get("/search", params={"q": "panda", "collection": "gallery", "k": 3})
            assert "panda" in found.json()["hits"][0]["id"]
            listed = client.get("/collections/gallery").json()
            assert listed["n_images"] == N_PICTURES
            assert "</html>" in client.get("/").text
            assert client.get("/openapi.json").json()["info"]["title"] == "diptych"
            assert client.get("/docs").status_code == 200
