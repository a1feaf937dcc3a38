"""Check what is in an image and what must not be. The build runs this at its end, as root, in the image.

`assert_image.py LOCK TRAINING`: LOCK is the lock file of the installed packages, TRAINING the pyproject.toml
of the training package, which lists what the server must not need. Standard library only.
"""

import importlib.util
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

ENVIRONMENT = Path("/opt/diptych")
OURS = ("diptych", "diptych-client")
INSTALLERS = ("pip", "setuptools")  # must not be in the environment; the Python of the base may have them
ROOT = Path("/")
KERNEL_FOLDERS = ("/proc", "/sys", "/dev")
READABLE = tuple(map(Path, ("/opt/diptych", "/srv/model_repo", "/usr/local/lib/diptych")))
NOBODY = 65534  # neither root nor the user of the image: the image may run as any user
IMPLIED = ("triton", "torchgen", "functorch", "diptych-training")  # comes with what training requires
CUDA = "nvidia"  # the folder of CUDA packages, and the prefix of their names
# Packages whose import name differs from their name.
IMPORT_NAMES = {"open-clip-torch": "open_clip", "scikit-image": "skimage", "scikit-learn": "sklearn"}


def main(lock: Path, training: Path) -> None:
    """Run all checks. Raises AssertionError that names what is wrong."""
    assert Path(sys.prefix) == ENVIRONMENT, f"python3 belongs to {sys.prefix}, not to {ENVIRONMENT}"
    locked = names_of_lock(lock.read_text(encoding="utf-8"))
    assert_nothing_else_is_installed(locked)
    forbidden = only_of_training(needed_by_training(training.read_text(encoding="utf-8")), locked)
    traces = sorted(map(str, traces_of(forbidden, ROOT)))
    assert traces == [], f"must not be in the image: {traces[:10]}"
    # Our two projects were installed without their requirements, which are in the lock.
    missing = [name for project in OURS for name in required_by(project) if not is_installed(name)]
    assert missing == [], f"required, but not in the image: {missing}"
    wrong = [f"{path} ({why})" for top in READABLE for path, why in wrong_modes(top)]
    assert wrong == [], f"everybody must be able to read these, and nobody to write them: {wrong[:10]}"
    # In separate processes, as a user who owns no file.
    code = "import sys, diptych.cli.process.server, onnxruntime, faiss; sys.exit('torch' in sys.modules)"
    run_as_nobody(sys.executable, "-I", "-c", code)
    run_as_nobody(str(ENVIRONMENT / "bin" / "diptych"), "--help")


def assert_nothing_else_is_installed(locked: set[str]) -> None:
    """Require that the environment has only packages of the lock and ours, and no installer."""
    installed = {normal(one.name) for one in metadata.distributions()}
    found = sorted(installed - locked - set(OURS))
    found += [name for name in INSTALLERS if importlib.util.find_spec(name) is not None]
    assert found == [], f"in the environment, but not in the lock: {found}"


def names_of_lock(text: str) -> set[str]:
    """Return the names of all packages in a lock file, for any machine."""
    return {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", text, re.MULTILINE)}


def needed_by_training(text: str) -> set[str]:
    """Return the packages that training and its extras need, and training itself, without our projects."""
    project = tomllib.loads(text)["project"]
    lines = [project["dependencies"], *project["optional-dependencies"].values()]
    return {*(name_of(line) for some in lines for line in some), *IMPLIED} - set(OURS)


def only_of_training(needed: set[str], locked: set[str]) -> set[str]:
    """Return the needed packages that are not in the lock, nor their GPU variants; and CUDA unless locked."""
    cuda = {CUDA} - {name.partition("-")[0] for name in locked}
    return {name for name in needed | cuda if name not in locked and f"{name}-gpu" not in locked}


def traces_of(names: Iterable[str], top: Path) -> Iterator[Path]:
    """Yield traces of these packages below `top`: for any Python, in archives, and as libraries of torch."""
    distributions = set(names)
    modules = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if str(Path(folder, name)) not in KERNEL_FOLDERS]
        is_inside = "__init__.py" in files  # inside a package, where modules may have any name
        is_of_python = Path(folder).name in {"site-packages", "dist-packages"}
        for name in (*folders, *files):
            path = Path(folder, name)
            if (
                name.startswith(("libtorch", "libc10"))
                or is_distribution(name, distributions)
                or (is_of_python and name.partition(".")[0] in modules)
                or (not is_inside and name in modules and (path / "__init__.py").is_file())
            ):
                yield path


def is_distribution(name: str, distributions: set[str]) -> bool:
    """Whether a name such as `torch-2.13.0.dist-info`, or of a wheel, is of one of these distributions."""
    if not name.endswith((".dist-info", ".egg-info", ".whl", ".tar.gz")):
        return False
    found = normal(re.split(r"-\d|\.egg-info", name)[0])
    return found in distributions or (CUDA in distributions and found.startswith(f"{CUDA}-"))


def wrong_modes(top: Path) -> Iterator[tuple[Path, str]]:
    """Yield files and folders that not every user can read (and enter), or that others can write."""
    for path in (top, *top.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0)
        if mode & needed != needed or mode & (stat.S_IWOTH | stat.S_IWGRP):
            yield path, stat.filemode(mode)


def run_as_nobody(*command: str) -> None:
    """Run a command as a user without rights. Raises CalledProcessError when it fails."""
    subprocess.run(  # noqa: S603 - fixed arguments
        command, user=NOBODY, group=NOBODY, extra_groups=[], check=True, stdout=subprocess.DEVNULL
    )


def required_by(project: str) -> list[str]:
    """Return the names of the requirements of a project, without those of its extras."""
    return [name_of(line) for line in metadata.requires(project) or [] if "extra ==" not in line]


def is_installed(name: str) -> bool:
    """Whether the environment has this package."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def name_of(requirement: str) -> str:
    """Return the name in a requirement: `uvicorn[standard]>=0.35,<1` becomes `uvicorn`."""
    return normal(re.split(r"[^A-Za-z0-9._-]", requirement)[0])


def normal(name: str) -> str:
    """Normalise a name: `huggingface_hub` becomes `huggingface-hub`."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
