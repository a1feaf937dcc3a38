"""A base with a Python of this machine instead of Debian's: where torch's own index is not reached.

The wheels of torch that such a machine has may be of another Python.
"""

import shutil
from pathlib import Path

from deployment.rootless.building import BASE, Buildah

NOT_NEEDED = ("site-packages", "test", "idlelib", "tkinter", "turtledemo", "__pycache__")


def make_base_with(buildah: Buildah, prefix: Path) -> str:
    """The base of `make_base` with what lies below `prefix` as `/usr/local`, where published images have it.

    Returns its name. What it stands on comes from the base: `prefix` must be of the same release of Debian.
    """
    (library,) = prefix.glob("lib/python3.*/")
    base = f"{BASE}-{library.name}"
    if buildah.has(base):
        return base
    copy = buildah.folder / "python"
    shutil.rmtree(copy, ignore_errors=True)
    ignored = shutil.ignore_patterns(*NOT_NEEDED)
    shutil.copytree(library, copy / "lib" / library.name, ignore=ignored, symlinks=True)
    for file in (*prefix.glob("lib/libpython3*"), *prefix.glob("bin/python3*")):
        (copy / file.relative_to(prefix)).parent.mkdir(exist_ok=True)
        shutil.copy2(file, copy / file.relative_to(prefix), follow_symlinks=False)
    container = buildah.run("from", "--pull-never", BASE)
    buildah.run("add", "-q", container, copy, "/usr/local")
    buildah.run("run", "--isolation", "chroot", container, "--", "ldconfig")
    buildah.run("commit", "-q", "--rm", container, base)
    shutil.rmtree(copy)
    return base
