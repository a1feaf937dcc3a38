"""Run at the end of a build by the image's own Python, as root: what must be in the image, and what must not.

`assert_image.py LOCK TRAINING`: the lock that the packages were installed by, and the pyproject.toml of the
training, which tells what the server does without. Standard library only.
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
INSTALLERS = ("pip", "setuptools")  # not in the environment; the base's own Python may have them
TOP = Path("/")
OF_THE_MACHINE = ("/proc", "/sys", "/dev")
READ = tuple(map(Path, ("/opt/diptych", "/srv/model_repo", "/usr/local/lib/diptych")))
ANYBODY = 65534  # neither root nor the image's own user, whom any other may stand in for
BROUGHT = ("triton", "torchgen", "functorch", "diptych-training")  # by what training requires, and itself
CUDA = "nvidia"  # the folder of its packages, and what their names begin with
# Packages that are imported by another name than they are installed by.
IMPORTED = {"open-clip-torch": "open_clip", "scikit-image": "skimage", "scikit-learn": "sklearn"}


def main(lock: Path, training: Path) -> None:
    """Raises AssertionError that names what is wrong."""
    assert Path(sys.prefix) == ENVIRONMENT, f"python3 is that of {sys.prefix}, not of {ENVIRONMENT}"
    locked = names_of_lock(lock.read_text(encoding="utf-8"))
    assert_nothing_else_is_installed(locked)
    forbidden = only_of_training(needed_by_training(training.read_text(encoding="utf-8")), locked)
    traces = sorted(map(str, traces_of(forbidden, TOP)))
    assert traces == [], f"in the image, and must not be: {traces[:10]}"
    # Our two projects were put in without their requirements, which the lock brings.
    lacking = [name for project in OURS for name in required_by(project) if not is_installed(name)]
    assert lacking == [], f"required and not in the image: {lacking}"
    closed = [f"{path} ({why})" for top in READ for path, why in not_for_everybody(top)]
    assert closed == [], f"everybody must read these, and nobody write them: {closed[:10]}"
    # In processes of their own, as a server is, and by a user that owns nothing.
    code = "import sys, diptych.cli.process.server, onnxruntime, faiss; sys.exit('torch' in sys.modules)"
    run_as_anybody(sys.executable, "-I", "-c", code)
    run_as_anybody(str(ENVIRONMENT / "bin" / "diptych"), "--help")


def assert_nothing_else_is_installed(locked: set[str]) -> None:
    """The environment has packages of the lock and ours, and no installer."""
    installed = {normal(one.name) for one in metadata.distributions()}
    found = sorted(installed - locked - set(OURS))
    found += [name for name in INSTALLERS if importlib.util.find_spec(name) is not None]
    assert found == [], f"in the environment, and in no lock: {found}"


def names_of_lock(text: str) -> set[str]:
    """Of all packages that it has for any machine."""
    return {normal(name) for name in re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", text, re.MULTILINE)}


def needed_by_training(text: str) -> set[str]:
    """Names of what training and its extras require, and of itself, by its pyproject.toml; ours left out."""
    project = tomllib.loads(text)["project"]
    lines = [project["dependencies"], *project["optional-dependencies"].values()]
    return {*(name_of(line) for some in lines for line in some), *BROUGHT} - set(OURS)


def only_of_training(needed: set[str], locked: set[str]) -> set[str]:
    """Without what the image has, in its variant for GPUs, too; CUDA is of training where no lock has it."""
    cuda = {CUDA} - {name.partition("-")[0] for name in locked}
    return {name for name in needed | cuda if name not in locked and f"{name}-gpu" not in locked}


def traces_of(names: Iterable[str], top: Path) -> Iterator[Path]:
    """Below `top`: packages of these names, of whichever Python and in archives, and libraries of torch."""
    distributions = set(names)
    modules = {IMPORTED.get(name, name.replace("-", "_")) for name in names}
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if str(Path(folder, name)) not in OF_THE_MACHINE]
        is_inside = "__init__.py" in files  # of a package: its parts may have any name
        is_of_python = Path(folder).name in {"site-packages", "dist-packages"}
        for name in (*folders, *files):
            path = Path(folder, name)
            if (
                name.startswith(("libtorch", "libc10"))
                or is_described(name, distributions)
                or (is_of_python and name.partition(".")[0] in modules)
                or (not is_inside and name in modules and (path / "__init__.py").is_file())
            ):
                yield path


def is_described(name: str, distributions: set[str]) -> bool:
    """`torch-2.13.0.dist-info`, and wheels and archives of the like."""
    if not name.endswith((".dist-info", ".egg-info", ".whl", ".tar.gz")):
        return False
    found = normal(re.split(r"-\d|\.egg-info", name)[0])
    return found in distributions or (CUDA in distributions and found.startswith(f"{CUDA}-"))


def not_for_everybody(top: Path) -> Iterator[tuple[Path, str]]:
    """What another user than its owner cannot read, or can write; a folder must be entered, too."""
    for path in (top, *top.rglob("*")):
        if path.is_symlink():
            continue
        mode = path.stat().st_mode
        needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0)
        if mode & needed != needed or mode & (stat.S_IWOTH | stat.S_IWGRP):
            yield path, stat.filemode(mode)


def run_as_anybody(*command: str) -> None:
    """By a user without rights. CalledProcessError when it fails."""
    subprocess.run(  # noqa: S603 - our own words
        command, user=ANYBODY, group=ANYBODY, extra_groups=[], check=True, stdout=subprocess.DEVNULL
    )


def required_by(project: str) -> list[str]:
    """The names that a project cannot do without; those of its extras are left out."""
    return [name_of(line) for line in metadata.requires(project) or [] if "extra ==" not in line]


def is_installed(name: str) -> bool:
    """Whether the environment has a package of this name."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def name_of(requirement: str) -> str:
    """`uvicorn[standard]>=0.35,<1` -> `uvicorn`."""
    return normal(re.split(r"[^A-Za-z0-9._-]", requirement)[0])


def normal(name: str) -> str:
    """`huggingface_hub` -> `huggingface-hub`."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
