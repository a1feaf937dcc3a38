"""The layout of a run folder. Reads and writes no file."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, by purpose."""

    path: Path

    @property
    def config_file(self) -> Path:
        """The recipe of the run, with defaults and overrides written out."""
        return self.path / "config.toml"

    @property
    def model_file(self) -> Path:
        """The architecture."""
        return self.path / "model.json"

    @property
    def image_spec_file(self) -> Path:
        """The preprocessing of images."""
        return self.path / "preprocess.json"

    @property
    def text_spec_file(self) -> Path:
        """The cleaning, padding and prompts of texts."""
        return self.path / "text.json"

    @property
    def provenance_file(self) -> Path:
        """The data sets and models that the run learns from, with licences and authors. Older runs have
        none.
        """
        return self.path / "learned_from.json"

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer."""
        return self.path / "tokenizer.json"

    @property
    def dictionary_file(self) -> Path:
        """The words, phrases or labels that the run's objective predicts, if it has a dictionary."""
        return self.path / "dictionary.json"

    @property
    def last(self) -> Path:
        """The newest checkpoint, optimizer included; `--resume` continues from it."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights with the best validation score."""
        return self.path / "best.safetensors"

    @property
    def has_begun(self) -> bool:
        """Whether there is a checkpoint for `--resume`; a run that failed earlier is started again."""
        return self.last.is_file() or self.best.is_file()

    @property
    def start(self) -> Path:
        """The weights that the run started from, if not random ones; evaluation compares against them."""
        return self.path / "start.safetensors"

    @property
    def proof_set_file(self) -> Path:
        """The proof set of the model that the run started from, if that has one; export hands it on."""
        return self.path / "proof_set.npz"

    def teacher(self, number: int) -> Path:
        """Architecture and weights of a teacher: 0, 1, ... in the order of the recipe."""
        return self.path / "teachers" / f"{number}.safetensors"

    @property
    def teacher_texts_file(self) -> Path:
        """The texts of a text teacher with their targets, and its space."""
        return self.path / "teachers" / "texts.safetensors"

    @property
    def metrics_file(self) -> Path:
        """Every logged number: step, metric, value."""
        return self.path / "metrics.csv"

    @property
    def curves_file(self) -> Path:
        """The plotted metrics."""
        return self.path / "curves.png"

    @property
    def tensorboard(self) -> Path:
        """Event files for TensorBoard."""
        return self.path / "tensorboard"
