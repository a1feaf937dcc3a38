"""The last step of an image's build, on an environment that must not pass: the one of these tests."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[3] / "docker" / "assert_image.py"


@pytest.fixture
def assert_image() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assert_image", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_other_python_than_the_images_is_refused(assert_image: ModuleType) -> None:
    with pytest.raises(AssertionError, match="not of /opt/diptych"):
        assert_image.main()


def test_torch_is_refused_by_name(assert_image: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assert_image, "ENVIRONMENT", Path(sys.prefix))
    with pytest.raises(AssertionError, match=r"must not be: .*'torch'.*'diptych_training'"):
        assert_image.main()


@pytest.mark.parametrize(
    "trace",
    [
        "lib/python3/dist-packages/torch/__init__.py",
        "local/lib/python3.13/site-packages/torch-2.13.0.dist-info/METADATA",
        "local/lib/python3.13/site-packages/diptych_training/cli.py",
        "lib/x86_64-linux-gnu/libtorch_cpu.so",
    ],
)
def test_torch_of_another_python_in_the_image_is_refused(
    assert_image: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trace: str
) -> None:
    monkeypatch.setattr(assert_image, "ENVIRONMENT", Path(sys.prefix))
    monkeypatch.setattr(assert_image, "FORBIDDEN", ())  # the environment of these tests has them
    monkeypatch.setattr(assert_image, "TOPS", (tmp_path,))
    file = tmp_path / trace
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(AssertionError, match=r"must not be: .*(torch|diptych_training)"):
        assert_image.main()


def test_packages_with_like_names_are_no_traces_of_training(assert_image: ModuleType, tmp_path: Path) -> None:
    for name in ("site-packages/torchlight", "dist-packages/pip", "site-packages/numpy/torch", "torch"):
        (tmp_path / name).mkdir(parents=True)
    assert assert_image.traces_of_training(tmp_path) == []


def test_requirement_that_is_not_installed_is_found(assert_image: ModuleType) -> None:
    assert "numpy" in assert_image.required_by("diptych")
    assert "onnxruntime" not in assert_image.required_by("diptych")  # of an extra
    assert assert_image.is_installed("numpy")
    assert not assert_image.is_installed("diptych-nothing-of-the-kind")
