"""The one list of photographs: each is in one split, and only openly licensed ones are shared."""

import io
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych_training.cli import main
from diptych_training.data.photographs.listed import (
    ListedPhotograph,
    listed_photographs,
    read_photograph,
)
from diptych_training.data.photographs.proof_command import fetch_photographs, require_apart
from diptych_training.errors import DataError
from diptych_training.provenance import is_open
from support.fake_debian import FakeDebian

LISTED = listed_photographs()
SHARED = [one for one in LISTED if one.is_shared]
GCOMPRIS = "gcompris-qt-data"


def test_each_photograph_is_in_one_split_by_file_and_by_content() -> None:
    assert len({one.file for one in LISTED}) == len({one.sha256 for one in LISTED}) == len(LISTED)
    assert {one.split for one in LISTED} == {"rehearsal", "proof", "judging"}  # no model trains on any
    assert len(SHARED) == 84


def test_those_of_gcompris_judge_and_are_never_shared() -> None:
    judging = listed_photographs("judging")
    assert {one.package for one in judging} == {GCOMPRIS}
    assert all((one.split == "judging") == (one.package == GCOMPRIS) for one in LISTED)
    assert not any(one.is_shared for one in judging)


def test_shared_photographs_have_an_open_licence_an_author_and_a_source() -> None:
    for one in SHARED:
        assert is_open(one.licence), one.file
        assert one.author, one.file
        assert one.source.startswith(("https://", "http://")), one.file


def test_shared_photographs_have_names_of_their_own() -> None:
    for names in ([one.title.casefold() for one in SHARED], [one.name.casefold() for one in SHARED]):
        assert len(set(names)) == len(names)


def test_installed_photographs_are_those_of_the_list() -> None:
    installed = [one for one in LISTED if one.is_installed]
    assert len(installed) == 20
    for one in installed:
        read_photograph(one, Path("nowhere"))


def picture(seed: int, size: tuple[int, int] = (64, 48), file_format: str = "PNG") -> bytes:
    cells = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(cells).resize(size, Image.Resampling.NEAREST).save(file, file_format)
    return file.getvalue()


def test_near_duplicates_in_two_splits_are_refused_whatever_their_size_and_format() -> None:
    proof, other, rehearsal = (
        replace(SHARED[0], file=f"package/{name}.png", split=split)
        for name, split in (("one", "proof"), ("other", "proof"), ("again", "rehearsal"))
    )
    large = picture(1, size=(320, 240), file_format="JPEG")
    require_apart({proof: picture(1), other: large, rehearsal: picture(2)})
    with pytest.raises(DataError, match=r"package/one\.png \(proof\) and package/again\.png \(rehearsal\)"):
        require_apart({proof: picture(1), rehearsal: large})


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[ListedPhotograph]:
    """Two photographs of a package, one of each split, in the place of the list."""
    of_package = []
    for seed, split in ((1, "proof"), (2, "rehearsal")):
        one = replace(
            SHARED[0],
            split=split,
            file=f"lake-wallpapers/usr/share/lake {seed}.png",
            sha256=sha256(picture(seed)).hexdigest(),
        )
        file = tmp_path / "package" / one.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(seed))
        of_package.append(one)
    monkeypatch.setattr(
        "diptych_training.data.photographs.proof_command.listed_photographs", lambda: of_package
    )
    return of_package


def test_photographs_are_fetched_once_and_counted_by_photograph(
    tmp_path: Path,
    listed: list[ListedPhotograph],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    FakeDebian(tmp_path, monkeypatch)
    command = ["data", "proof-photographs", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert (tmp_path / "asked").read_text() == "download lake-wallpapers\n"
    assert capsys.readouterr().out == "proof: 1 photographs\nrehearsal: 1 photographs\n"
    assert [read_photograph(one, tmp_path / "out") for one in listed] == [picture(1), picture(2)]

    (tmp_path / "asked").unlink()
    assert main(command) == 0
    assert not (tmp_path / "asked").exists()


def test_another_content_than_the_listed_one_is_refused_and_not_kept(
    tmp_path: Path, listed: list[ListedPhotograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeDebian(tmp_path, monkeypatch)
    (tmp_path / "package" / listed[0].path).write_bytes(picture(3))
    with pytest.raises(DataError, match=r"sha256 of .*lake 1\.png .* another version of lake-wallpapers\?"):
        fetch_photographs(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("listed")
def test_without_a_network_the_reason_of_apt_get_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeDebian(tmp_path, monkeypatch).runs("apt-get", "echo 'E: Temporary failure resolving' >&2; exit 100")
    assert main(["data", "proof-photographs", "--out", str(tmp_path / "out")]) != 0
    assert "apt-get download lake-wallpapers: E: Temporary failure" in capsys.readouterr().err
