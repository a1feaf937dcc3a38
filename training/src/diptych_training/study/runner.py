"""Run a plan: train its models as far as they need, and measure them."""

import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean

from diptych.bundle.repository import ModelRepository
from diptych_training.checkpoint import checkpoint_step
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.evaluate.evaluated_model import load_evaluated_bundle, named_bundle, open_evaluated_run
from diptych_training.importing.source_model import SourceModel
from diptych_training.models.clip import grouped_length
from diptych_training.progress import Reporter
from diptych_training.run_folder import RunFolder
from diptych_training.study.cells import MEASURED, Cell, Run, data_digest, without_validation
from diptych_training.study.measure import measure
from diptych_training.study.name_scores import Model
from diptych_training.study.results import Result
from diptych_training.train.align.start import open_drawings
from diptych_training.train.batches.training_data import training_data
from diptych_training.train.defaults import with_defaults
from diptych_training.train.teachers import open_teachers
from diptych_training.train.train_run import train_run

N_TIMES_MEASURED = 8  # batches whose captions are measured


class Stopped(Exception):
    """A signal ended the training of a run, after a checkpoint."""


@dataclass(frozen=True)
class StudyRunner:
    """Trains and measures the models of a plan: where its data and bundles are, and where runs are kept."""

    dataset: PackedDataset
    runs_dir: Path
    model_repo: Path
    cache: Path
    device: str
    report: Reporter

    @cached_property
    def data(self) -> str:
        """The digest of the data."""
        return data_digest(self.dataset)

    def run(self, cell: Cell) -> Result:
        """Train and measure. Raises Stopped, TrainingFailed."""
        rate = self._train(cell.model) if isinstance(cell.model, Run) else None
        started = time.perf_counter()
        scores = measure(cell, self._open(cell.model), self.dataset, self.cache / "features")
        kinds = {name: entry.kind for name, entry in self.dataset.listed(MEASURED) if name in scores}
        result = Result(
            part=cell.part,
            cell=cell.name,
            variant=cell.variant,
            digest=cell.digest(self.data),
            recipe=cell.model.recipe if isinstance(cell.model, Run) else cell.model,
            data=self.data,
            images_per_s=rate,
            measured_s=round(time.perf_counter() - started, 1),
            kinds=kinds,
            scores=scores,
        )
        return result.model_copy(update=self._spent(cell.model)) if isinstance(cell.model, Run) else result

    def train(
        self,
        config: TrainConfig,
        dataset: PackedDataset,
        source: SourceModel | None = None,
    ) -> bool:
        """Begin or resume the run of a recipe; False if a signal stopped it, after a checkpoint.

        A new run computes in fp32 unless its recipe sets a precision: runs of several machines compare.
        """
        folder = RunFolder(self.runs_dir / config.name)
        if not folder.has_begun:
            config = with_defaults(config, dataset)
        return train_run(
            config,
            dataset,
            folder.path,
            source,
            open_teachers=partial(open_teachers, config, self.runs_dir, self.model_repo),
            open_drawings=partial(open_drawings, config, self.runs_dir, self.model_repo),
            resume=folder.has_begun,
            device=self.device,
            report=self.report,
        )

    def step_of(self, name: str) -> int:
        """How far the run of this name is."""
        last = RunFolder(self.runs_dir / name).last
        return checkpoint_step(last) if last.is_file() else 0

    def _train(self, run: Run) -> float | None:
        """Train a run to its end. Returns images/s; None if it was there."""
        config = run.config.model_copy(update={"name": run.name})
        n_left = config.run.steps - self.step_of(run.name)
        if not n_left:
            return None
        started = time.perf_counter()
        if not self.train(config, without_validation(self.dataset)):
            raise Stopped
        return round(n_left * config.run.batch_size / (time.perf_counter() - started), 1)

    def _spent(self, run: Run) -> dict[str, object]:
        """What the training of a run took."""
        text_length = self._text_length(run)
        return {
            "seed": run.config.seed,
            "images": run.images,
            "flops": run.images * run.flops_per_image(text_length),
            "text_length": text_length,
            "objective": run.objective,
            "tower": run.config.model.image.kind,
        }

    def _text_length(self, run: Run) -> int:
        """Tokens of a caption, with the padding that is computed: a text tower computes captions in groups of
        similar length, other objectives all of a batch at once.
        """
        data = training_data(self.dataset, run.config)
        tokenizer_file = RunFolder(self.runs_dir / run.name).tokenizer_file
        batches = data.batches(tokenizer_file, first_step=0, position={})
        drawn = [batches.make(step).input_ids for step in range(N_TIMES_MEASURED)]
        batches.close()
        has_tower = run.config.predictive is None
        return round(fmean(grouped_length(ids) if has_tower else ids.shape[1] for ids in drawn))

    def _open(self, model: Run | str) -> Model:
        if isinstance(model, Run):
            return open_evaluated_run(self.runs_dir / model.name, "last")
        repository = ModelRepository(self.model_repo)
        return load_evaluated_bundle(repository, *named_bundle(repository, model))
