"""The check at the end of an image build, on faulty root folders, in the environment of these tests."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
TRAINING = ROOT / "training" / "pyproject.toml"
LOCKS = {name: ROOT / "docker" / f"server.{name}.lock" for name in ("cpu", "gpu")}


@pytest.fixture
def assert_image() -> ModuleType:
    spec = importlib.util.spec_from_file_location("assert_image", ROOT / "docker" / "assert_image.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def image(assert_image: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty root folder. This environment, without training packages, stands in for that of the image."""
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    monkeypatch.setattr(assert_image, "ENVIRONMENT", Path(sys.prefix))
    monkeypatch.setattr(assert_image, "ROOT", root)
    monkeypatch.setattr(assert_image, "READABLE", (root,))
    monkeypatch.setattr(assert_image, "assert_nothing_else_is_installed", lambda _: None)
    monkeypatch.setattr(assert_image, "run_as_nobody", lambda *_: None)  # only root can change the user
    umask = os.umask(0o022)
    yield root
    os.umask(umask)


def forbidden(assert_image: ModuleType, target: str = "cpu") -> set[str]:
    needed = assert_image.needed_by_training(TRAINING.read_text())
    found: set[str] = assert_image.only_of_training(needed, locked(assert_image, target))
    return found


def locked(assert_image: ModuleType, target: str) -> set[str]:
    found: set[str] = assert_image.names_of_lock(LOCKS[target].read_text())
    return found


def test_python_outside_the_environment_is_refused(assert_image: ModuleType) -> None:
    with pytest.raises(AssertionError, match="not to /opt/diptych"):
        assert_image.main(LOCKS["cpu"], TRAINING)


def test_image_without_training_packages_passes(assert_image: ModuleType, image: Path) -> None:
    names = ("site-packages/torchlight", "dist-packages/pip", "numpy/torch", "torch", "opt/numpy/matplotlib")
    for name in names:
        (image / name).mkdir(parents=True)
    for name in ("opt/numpy/__init__.py", "opt/numpy/matplotlib/__init__.py", "pip-26.0-py3-none-any.whl"):
        (image / name).touch()
    assert_image.main(LOCKS["cpu"], TRAINING)


def test_package_outside_the_lock_is_refused(assert_image: ModuleType) -> None:
    with pytest.raises(AssertionError, match=r"not in the lock: .*'timm'.*'torch'") as refused:
        assert_image.assert_nothing_else_is_installed(locked(assert_image, "cpu"))
    assert "'numpy'" not in str(refused.value)
    assert "'pip'" in str(refused.value)


@pytest.mark.parametrize(
    "trace",
    [
        "lib/python3/dist-packages/torch/__init__.py",
        "lib/x86_64-linux-gnu/libtorch_cpu.so",
        "usr/lib/site-packages/nvidia_cublas_cu12-12.6.4.1.dist-info/METADATA",
        "wheels/open_clip_torch-3.3.0-py3-none-any.whl",
    ],
)
def test_training_package_is_refused_wherever_it_is(
    assert_image: ModuleType, image: Path, trace: str
) -> None:
    file = image / trace
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(AssertionError, match=r"must not be in the image: .*") as refused:
        assert_image.main(LOCKS["cpu"], TRAINING)
    assert Path(trace).parts[0] in str(refused.value)


@pytest.mark.parametrize("target", LOCKS)
def test_every_requirement_of_training_alone_is_forbidden(assert_image: ModuleType, target: str) -> None:
    names = forbidden(assert_image, target)
    assert {"torch", "timm", "open-clip-torch", "tensorboard", "diptych-training", "onnx"} <= names
    assert names & locked(assert_image, target) == set()
    assert names & {"numpy", "pillow", "onnxruntime", "diptych"} == set()
    assert ("nvidia" in names) == (target == "cpu")


@pytest.mark.parametrize(("name", "mode"), [("a.py", 0o666), ("folder", 0o700)])
def test_file_that_others_cannot_read_or_can_write_is_refused(
    assert_image: ModuleType, image: Path, name: str, mode: int
) -> None:
    path = image / name
    path.mkdir() if name == "folder" else path.touch()
    path.chmod(mode)
    with pytest.raises(
        AssertionError, match=rf"everybody must be able to read these, and nobody to write them: .*{name}"
    ):
        assert_image.main(LOCKS["cpu"], TRAINING)


def test_requirement_that_is_not_installed_is_found(assert_image: ModuleType) -> None:
    assert "numpy" in assert_image.required_by("diptych")
    assert "onnxruntime" not in assert_image.required_by("diptych")  # of an extra
    assert assert_image.is_installed("numpy")
    assert not assert_image.is_installed("diptych-nothing-of-the-kind")
