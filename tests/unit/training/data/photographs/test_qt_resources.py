import pytest

from diptych_training.data.photographs.qt_resources import read_resources
from diptych_training.errors import DataError
from support.qt_resource_file import resource_file

FILES = {"game/images/cat.webp": b"a cat", "game/images/dogs/big dog.webp": b"a dog", "readme": b""}


@pytest.mark.parametrize("compressed", [False, True])
def test_files_are_read_by_their_path(compressed: bool) -> None:
    assert read_resources(resource_file(FILES, compressed=compressed)) == FILES


def test_other_files_are_refused() -> None:
    with pytest.raises(DataError, match="not a Qt resource file"):
        read_resources(b"RIFF and more")


def test_zstandard_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="Zstandard"):
        read_resources(resource_file(FILES, zstandard=True))


@pytest.mark.parametrize("kept", [6, 30, 100])
def test_a_file_that_ends_early_is_refused(kept: int) -> None:
    with pytest.raises(DataError, match="damaged"):
        read_resources(resource_file(FILES)[:kept])
