"""Run at the end of a build by the image's own Python: what must be in the image, and what must not."""

import importlib.util
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ENVIRONMENT = Path("/opt/diptych")
OURS = ("diptych", "diptych-client")
TRAINING = ("torch", "torchvision", "transformers", "open_clip", "diptych_training")
FORBIDDEN = (
    *TRAINING,
    "pip",
    "setuptools",
)  # in the environment; the base's own Python may have the last two
TOPS = tuple(map(Path, ("/usr", "/opt", "/srv", "/home", "/root", "/var")))


def main() -> None:
    """Raises AssertionError that names what is wrong."""
    assert Path(sys.prefix) == ENVIRONMENT, f"python3 is that of {sys.prefix}, not of {ENVIRONMENT}"
    found = [name for name in FORBIDDEN if importlib.util.find_spec(name) is not None]
    assert found == [], f"in the image, and must not be: {found}"
    traces = [str(path) for top in TOPS for path in traces_of_training(top)]
    assert traces == [], f"in the image, and must not be: {traces[:10]}"
    # Our two projects were put in without their requirements, which the lock brings.
    lacking = [name for project in OURS for name in required_by(project) if not is_installed(name)]
    assert lacking == [], f"required and not in the image: {lacking}"
    # Imported in a process of its own, as a server is.
    code = "import sys, diptych.cli.server, onnxruntime, faiss; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-I", "-c", code], check=True)  # noqa: S603 - our own words
    command = [ENVIRONMENT / "bin" / "diptych", "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def traces_of_training(top: Path) -> list[Path]:
    """Packages that training needs, of whichever Python, and libraries of torch wherever they lie."""
    return [
        path
        for path in top.rglob("*")
        if path.name.startswith(("libtorch", "libc10"))
        or (
            path.parent.name in {"site-packages", "dist-packages"}
            and re.split(r"[-.]", path.name)[0] in TRAINING
        )
    ]


def required_by(project: str) -> list[str]:
    """The names that a project cannot do without; those of its extras are left out."""
    lines = metadata.requires(project) or []
    return [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in lines if "extra ==" not in line]


def is_installed(name: str) -> bool:
    """Whether the environment has a package of this name."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
