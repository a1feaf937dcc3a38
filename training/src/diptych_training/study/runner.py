"""Run a plan: train its models as far as they need, and measure them."""

import shutil
import time
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from diptych.bundle.repository import ModelRepository
from diptych_training.checkpoint import checkpoint_step
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.evaluate.evaluated_model import load_evaluated_bundle, named_bundle, open_evaluated_run
from diptych_training.importing.source_model import SourceModel
from diptych_training.progress import Reporter
from diptych_training.run_folder import RunFolder
from diptych_training.study.cells import Cell, Run, data_digest, without_validation
from diptych_training.study.measure import Model, measure
from diptych_training.study.results import Result
from diptych_training.train.align.start import open_drawings
from diptych_training.train.defaults import with_defaults
from diptych_training.train.teachers import open_teachers
from diptych_training.train.train_run import train_run


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
        rate = self._train(cell.model, cell.step) if isinstance(cell.model, Run) else None
        started = time.perf_counter()
        scores = measure(cell, self._open(cell.model), self.dataset, self.cache / "features")
        is_run = isinstance(cell.model, Run)
        return Result(
            part=cell.part,
            cell=cell.name,
            variant=cell.variant,
            digest=cell.digest(self.data),
            recipe=cell.model.recipe if isinstance(cell.model, Run) else cell.model,
            data=self.data,
            seed=cell.model.config.seed if isinstance(cell.model, Run) else None,
            images=cell.images if is_run else None,
            flops=cell.flops if is_run else None,
            images_per_s=rate,
            measured_s=round(time.perf_counter() - started, 1),
            scores=scores,
        )

    def train(
        self,
        config: TrainConfig,
        dataset: PackedDataset,
        source: SourceModel | None = None,
        *,
        until: int | None = None,
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
            until=until,
            report=self.report,
        )

    def step_of(self, name: str) -> int:
        """How far the run of this name is."""
        last = RunFolder(self.runs_dir / name).last
        return checkpoint_step(last) if last.is_file() else 0

    def _train(self, run: Run, step: int) -> float | None:
        """Train a run to a step. Returns images/s; None if it was there. A run that is beyond starts again,
        since it keeps its last weights only.
        """
        folder = RunFolder(self.runs_dir / run.name)
        done = self.step_of(run.name)
        if done > step:
            self.report(f"{run.name} is at step {done}, beyond {step}: trained again")
            shutil.rmtree(folder.path)
            done = 0
        if done == step:
            return None
        config = run.config.model_copy(update={"name": run.name})
        started = time.perf_counter()
        if not self.train(config, without_validation(self.dataset), until=step):
            raise Stopped
        return round((step - done) * config.run.batch_size / (time.perf_counter() - started), 1)

    def _open(self, model: Run | str) -> Model:
        if isinstance(model, Run):
            return open_evaluated_run(self.runs_dir / model.name, "last")
        repository = ModelRepository(self.model_repo)
        return load_evaluated_bundle(repository, *named_bundle(repository, model))
