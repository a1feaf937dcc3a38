"""The folder of TensorRT engines that one version in one precision has on this machine."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime as ort

from diptych.adapters.onnxruntime import tensorrt_provider
from diptych.adapters.onnxruntime.cuda_provider import require_cuda
from diptych.adapters.onnxruntime.tensorrt_provider import Engines, image_shapes, text_shapes
from diptych.bundle.manifest import Manifest, identity
from diptych.durable import fsync_folder, write_durably
from diptych.errors import ConfigError

REVISION = 1  # of the options and of the rewritten graphs: engines of an earlier one are built again
COMPLETE = "complete.json"  # a file that is written once all engines are built and proven


class EngineCache:
    """Engines for one GPU model, release of TensorRT and onnxruntime, and largest batch.

    The name of its folder has all of these. An engine is executable code, so that only the user of the server
    may read and write the folder. It may be deleted at any time.
    """

    def __init__(self, cache_dir: Path, manifest: Manifest, precision: str, max_batch: int) -> None:
        """Raises ConfigError if TensorRT cannot be used here."""
        release, gpu = tensorrt_provider.require_tensorrt(), require_cuda()
        self._facts = {
            "gpu": gpu.name,
            "compute_capability": ".".join(map(str, gpu.compute_capability)),
            "tensorrt": release,
            "onnxruntime": ort.__version__,
            "max_batch": max_batch,
            "revision": REVISION,
        }
        self.description = (
            f"{gpu.name}, TensorRT {release}, onnxruntime {ort.__version__} and batches of up to {max_batch}"
        )
        name = re.sub(r"[^a-z0-9.]+", "-", "-".join(map(str, self._facts.values())).lower())
        self.folder = cache_dir / identity(manifest, precision, "exact") / name
        images = image_shapes(manifest.image.size, max_batch)
        self.engines = Engines(self.folder, images, text_shapes(manifest.text.lengths, max_batch))

    @property
    def is_complete(self) -> bool:
        """Whether the engines were built and proven, and all are still there."""
        try:
            files = json.loads((self.folder / COMPLETE).read_bytes())["engines"]
            return all((self.folder / file).stat().st_size == n_bytes for file, n_bytes in files.items())
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return False

    def make_empty(self) -> None:
        """Make the folder, or delete what is in it. Raises ConfigError."""
        with self._errors():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(mode=0o700, parents=True)

    def complete(self) -> None:
        """Note that the engines are proven: later starts use them. Raises ConfigError."""
        with self._errors():
            files = {str(file.relative_to(self.folder)): file.stat().st_size for file in self._files()}
            if not files:
                raise ConfigError(f"onnxruntime has kept no engine in {self.folder}")
            draft = self.folder / f".{COMPLETE}"
            write_durably(draft, json.dumps(self._facts | {"engines": files}, indent=1).encode())
            draft.replace(self.folder / COMPLETE)
            fsync_folder(self.folder)

    def _files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.engine"))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"the folder of engines {self.folder} cannot be used: {error.strerror}"
            ) from error
