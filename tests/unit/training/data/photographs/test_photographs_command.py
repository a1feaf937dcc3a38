import io
from pathlib import Path

import pytest
from PIL import Image

from diptych_training.cli import main
from diptych_training.data.photographs.command import write_photographs
from diptych_training.data.photographs.listed import listed_photographs
from diptych_training.data.photographs.qt_resources import read_resources
from diptych_training.errors import DataError
from diptych_training.evaluate.benchmark.data_sets.find import find_data_sets
from support.fake_debian import FakeDebian
from support.qt_resource_file import resource_file

RESOURCES, COPYRIGHT = "usr/share/gcompris-qt/rcc", "usr/share/doc/gcompris-qt-data/copyright"


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, "WEBP")
    return file.getvalue()


def unpacked_package(folder: Path, left_out: str = "") -> Path:
    """A package as Debian's, with all listed pictures but one."""
    contents: dict[str, dict[str, bytes]] = {}
    for listed in listed_photographs("judging"):
        activity = listed.path.partition("/")[0]
        inside = contents.setdefault(activity, {"gcompris/src/activities/other.svg": b"<svg/>"})
        if listed.path != left_out:
            inside[f"gcompris/src/activities/{listed.path}"] = picture()
    (folder / RESOURCES).mkdir(parents=True)
    for activity, files in contents.items():
        (folder / RESOURCES / f"{activity}.rcc").write_bytes(resource_file(files))
    (folder / COPYRIGHT).parent.mkdir(parents=True)
    (folder / COPYRIGHT).write_text("Files: *\nLicense: GPL-3+\n")
    return folder


def test_the_benchmark_reads_both_folders(tmp_path: Path) -> None:
    write_photographs(unpacked_package(tmp_path / "package"), tmp_path / "out")
    named = [str(tmp_path / "out" / name) for name in ("gcompris", "everyday")]
    photographs, everyday = find_data_sets(named, tmp_path, "eval")
    assert (len(photographs.test.right), len(photographs.texts)) == (185, 106)
    assert (len(everyday.test.right), len(everyday.texts)) == (73, 10)
    assert {"measuring tape", "red panda"} < set(photographs.texts)
    assert photographs.templates == ("a photo of a {}",)
    assert "GPL-3+" in (tmp_path / "out" / "gcompris" / "COPYRIGHT").read_text()


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDebian:
    unpacked_package(tmp_path / "package")
    return FakeDebian(tmp_path, monkeypatch)


@pytest.mark.usefixtures("debian")
def test_the_package_is_fetched_and_unpacked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "photographs", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "asked").read_text() == "download gcompris-qt-data\n"
    assert f"benchmark MODEL --on {tmp_path}/out/gcompris" in capsys.readouterr().out
    assert (tmp_path / "out/everyday/bird/erase-resource-toucan.webp").is_file()


FILES = {"game/images/cat.webp": b"a cat", "game/images/dogs/big dog.webp": b"a dog", "readme": b""}


@pytest.mark.parametrize("compressed", [False, True])
def test_files_are_read_by_their_path(compressed: bool) -> None:
    assert read_resources(resource_file(FILES, compressed=compressed)) == FILES


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"RIFF and more", "not a Qt resource file"),
        (resource_file(FILES, zstandard=True), "Zstandard"),
        *((resource_file(FILES)[:kept], "damaged") for kept in (6, 30, 100)),
    ],
)
def test_what_is_no_resource_file_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        read_resources(content)
