"""A virtual environment for each rival, made by pip when it is missing. Knows packages, no servers."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.servers import in_cache

# torch is installed in our own release, so that both sides have the same kernels; torchvision asks for the
# release of torch that it was built with. infinity's extra `vision` is left out: it brings a library for
# other models that holds torch back.
PACKAGES = {
    "infinity": (
        "torch", "infinity-emb[server]==0.0.78", "torchvision", "transformers<5",
        "sentence-transformers>=3,<5", "optimum", "aiohttp", "einops", "soundfile", "pillow", "timm",
    ),
    "open_clip": ("torch", "open_clip_torch[training]==3.3.0", "torchvision"),
    "clip_benchmark": (
        "torch", "clip-benchmark==1.6.2", "open_clip_torch==3.3.0", "torchvision", "requests", "numpy<2.4",
    ),
    "search": ("hnswlib==0.8.0", "usearch==2.26.6", "psycopg[binary]", "pgvector", "numpy"),
}  # fmt: skip
COMPLETE = ".complete"  # holds what was asked for: an edit of it makes the environment anew
TOLD = ("infinity_emb", "torch", "transformers", "fastapi", "open_clip_torch", "hnswlib", "usearch")


def environment(name: str) -> Path:
    """Its folder of programs. The first time takes minutes and a gigabyte or two."""
    folder, asked = in_cache("venvs", name), packages(name, version("torch"))
    complete = folder / COMPLETE
    if not complete.exists() or complete.read_text(encoding="utf-8") != "\n".join(asked):
        print(f"installing {name} into {folder}: once, some minutes", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *asked)
        complete.write_text("\n".join(asked), encoding="utf-8")
    return folder / "bin"


def packages(name: str, torch: str) -> list[str]:
    """What pip is asked for where `torch` is our release of it.

    No build of it is named, nor where it lies: what pip is configured for has builds of its own.
    """
    release, _, _ = torch.partition("+")
    return [f"torch=={release}" if package == "torch" else package for package in PACKAGES[name]]


def installed(name: str) -> str:
    """The releases that matter to speed, as one line."""
    folders = (environment(name).parent / "lib").glob("python*/site-packages/*.dist-info")
    found = (folder.name.removesuffix(".dist-info").partition("-") for folder in sorted(folders))
    return ", ".join(f"{package} {version}" for package, _, version in found if package in TOLD)


def _run(*command: str) -> None:
    """Without our own modules in its way. Raises CalledProcessError."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, stdout=sys.stderr, env=clean)
