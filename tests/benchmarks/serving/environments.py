"""A virtual environment for each rival, made by pip when it is missing. Knows packages, no servers."""

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.serving.places import in_cache

# torch's release is ours, so that both sides have the same kernels. infinity's extra `vision` is left out: it
# brings a library for other models that holds torch back.
PACKAGES = {
    "infinity": (
        "infinity-emb[server]==0.0.78", "torch==2.13.0", "torchvision==0.28.0", "transformers<5",
        "sentence-transformers>=3,<5", "optimum", "aiohttp", "einops", "soundfile", "pillow", "timm",
    ),
    "open_clip": ("open_clip_torch[training]==3.3.0", "torch==2.13.0", "torchvision==0.28.0"),
    "transformers": (
        "transformers==5.24.0", "torch==2.13.0", "fastapi", "uvicorn[standard]", "python-multipart", "pillow",
    ),
}  # fmt: skip
COMPLETE = ".complete"
TOLD = ("infinity_emb", "torch", "transformers", "fastapi", "open_clip_torch")


def environment(name: str) -> Path:
    """Its folder of programs. The first time takes minutes and a gigabyte or two."""
    folder = in_cache("venvs", name)
    if not (folder / COMPLETE).exists():
        print(f"installing {name} into {folder}: once, some minutes", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", str(folder))
        _run(str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *PACKAGES[name])
        (folder / COMPLETE).touch()
    return folder / "bin"


def installed(name: str) -> str:
    """The releases that matter to speed, as one line."""
    folders = (environment(name).parent / "lib").glob("python*/site-packages/*.dist-info")
    found = (folder.name.removesuffix(".dist-info").partition("-") for folder in sorted(folders))
    return ", ".join(f"{package} {version}" for package, _, version in found if package in TOLD)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)
