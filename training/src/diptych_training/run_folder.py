"""Where a run keeps its files; reads and writes none of them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, by purpose."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The configuration as it ran, defaults and overrides written out."""
        return self.path / "config.toml"

    @property
    def model_file(self) -> Path:
        """The architecture."""
        return self.path / "model.json"

    @property
    def image_spec_file(self) -> Path:
        """How images are prepared."""
        return self.path / "preprocess.json"

    @property
    def text_spec_file(self) -> Path:
        """How texts are cleaned, padded and prompted."""
        return self.path / "text.json"

    @property
    def provenance_file(self) -> Path:
        """What it learns from, with licences and authors. Runs of earlier releases have none."""
        return self.path / "learned_from.json"

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer."""
        return self.path / "tokenizer.json"

    @property
    def last(self) -> Path:
        """The newest checkpoint, optimizer included: what `--resume` goes on from."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights that did best on validation."""
        return self.path / "best.safetensors"

    @property
    def has_begun(self) -> bool:
        """Whether something is kept that `--resume` goes on with; a run that failed earlier is begun anew."""
        return self.last.is_file() or self.best.is_file()

    @property
    def start(self) -> Path:
        """The weights that a run started from, if they were not random ones: what it is held against."""
        return self.path / "start.safetensors"

    def teacher(self, number: int) -> Path:
        """Architecture and weights of a model that teaches the run: 0, 1, ... in the recipe's order."""
        return self.path / "teachers" / f"{number}.safetensors"

    @property
    def metrics_file(self) -> Path:
        """Every logged number: step, metric, value."""
        return self.path / "metrics.csv"

    @property
    def curves_file(self) -> Path:
        """The numbers as a picture."""
        return self.path / "curves.png"

    @property
    def tensorboard(self) -> Path:
        """Event files for TensorBoard."""
        return self.path / "tensorboard"
