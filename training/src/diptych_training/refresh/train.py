"""Train the run of a refresh by its recipe, and estimate how long the stages after it take."""

import shutil
import time
from dataclasses import dataclass

import numpy as np
from torch import nn

from diptych.bundle.manifest import ImageSpec
from diptych_training.checkpoint import checkpoint_step
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.packed import read_dataset
from diptych_training.evaluate.proof_set.samples import N_PARITY_IMAGES
from diptych_training.evaluate.torch_encoder import TorchEncoder
from diptych_training.progress import Reporter
from diptych_training.refresh.ledger import RefreshFolder
from diptych_training.refresh.measure import measured_alphas, n_evaluated
from diptych_training.refresh.pairs.findings import PairsReport
from diptych_training.refresh.recipe import old_pairs, write_recipe
from diptych_training.refresh.start import Places, RefreshOptions, Start
from diptych_training.train.teachers import open_teachers
from diptych_training.train.train_run import train_run

N_TIMED = 64  # pictures, about a second: shorter ones measure what other programs happen to do
# What the export takes in addition to the reference's embeddings, in pictures that torch embeds: graphs and
# calibration once, and for each precision its graphs and its proof by onnxruntime, which is faster.
N_EXPORT, N_PRECISION = 1_600, 1_500


@dataclass(frozen=True)
class Remaining:
    """The work after training: `n_mixes` mixes embed `n_pictures` each, and `n_precisions` are exported."""

    n_mixes: int
    n_pictures: int
    n_precisions: int

    def seconds(self, picture_s: float) -> tuple[float, float]:
        """Seconds to judge and to export, if torch takes `picture_s` to embed a picture."""
        n_exported = N_PARITY_IMAGES + N_EXPORT + N_PRECISION * self.n_precisions
        return self.n_mixes * self.n_pictures * picture_s, n_exported * picture_s

    def text(self, picture_s: float) -> str:
        """The end of the line that estimates the training: what else takes time."""
        judge, export = (f"{seconds / 60:.1f}" for seconds in self.seconds(picture_s))
        return f"; then about {judge} min to judge, and roughly {export} min to export with proof"


def embedding_seconds(model: nn.Module, spec: ImageSpec) -> float:
    """Measure what it takes to embed one picture, in batches as judging does."""
    encoder = TorchEncoder(model, spec)
    pixels = np.zeros((N_TIMED, spec.size, spec.size, 3), dtype=np.uint8)
    encoder.encode_image(pixels[: N_TIMED // 4])  # warms up
    started = time.perf_counter()
    encoder.encode_image(pixels)
    return (time.perf_counter() - started) / N_TIMED


def choose_recipe(
    options: RefreshOptions, folder: RefreshFolder, start: Start, findings: PairsReport, report: Reporter
) -> TrainConfig:
    """The recipe in the folder, which is written if there is none yet."""
    if options.recipe is not None:
        shutil.copyfile(options.recipe, folder.recipe_file)
    elif not folder.recipe_file.is_file():
        old = old_pairs(options.old_data, start.manifest, start.shipped)
        report(str(old))
        write_recipe(
            folder.recipe_file,
            folder.name,
            start.title,
            n_train=findings.n_train,
            n_usable=findings.n_usable,
            old=old,
            seed=folder.number - 1,
            loss=start.source.tables["loss"],
            image_kind=start.source.tables["model"]["image"]["kind"],
        )
    return read_config(
        folder.recipe_file,
        options.overrides,
        folder.name,
        start.title,
        start_tables=lambda _: start.source.tables,
    )


def begin(folder: RefreshFolder, report: Reporter) -> None:
    """Record the recipe; one that was edited since the training began makes it begin again."""
    if folder.is_recipe_edited:
        kept = folder.set_run_aside()
        before = f" (the run before it: {kept})" if kept.is_dir() else ""
        report(f"the recipe was edited since: the training begins again{before}")
    folder.record(folder.ledger, trained_recipe=folder.recipe_file.read_text(encoding="utf-8"))


def train(
    options: RefreshOptions,
    places: Places,
    folder: RefreshFolder,
    *,
    start: Start,
    recipe: TrainConfig,
    until: int,
    report: Reporter,
) -> bool:
    """Train the run of the refresh to step `until`; False if it was interrupted.

    A run of more steps is one that was rejected; it is removed.
    """
    run = folder.run
    if run.last.is_file():
        step = checkpoint_step(run.last)
        if step == until:
            return True
        if step > until:
            shutil.rmtree(run.path)
    own = read_dataset(folder.own)
    remaining = Remaining(
        # What is made of photographs is computed once for all mixes, and takes most of the time.
        n_mixes=len(measured_alphas(options)) if recipe.drawing_size is None else 1,
        n_pictures=n_evaluated(own, start.shipped, options.shipped_pictures),
        n_precisions=len(start.manifest.precisions),
    )
    return train_run(
        recipe,
        own,
        run.path,
        start.source,
        open_teachers=lambda: open_teachers(recipe, places.runs_dir, places.model_repo),
        resume=run.has_begun,
        device=options.device,
        until=until,
        report=report,
        after_training=lambda model: remaining.text(embedding_seconds(model, recipe.preprocess)),
    )
