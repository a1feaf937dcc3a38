"""Run a training run from its recipe to its last step, or until a signal stops it."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

import torch

from diptych_training.checkpoint import objective_builder, read_checkpoint
from diptych_training.config import TrainConfig
from diptych_training.data.packed import PackedDataset
from diptych_training.errors import CheckpointError, RunInUse, TrainingConfigError
from diptych_training.evaluate.validation import validate
from diptych_training.files import exclusive_lock, naming_full_disk
from diptych_training.flags import AUTO
from diptych_training.importing.source_model import SourceModel
from diptych_training.models import WordPiecesConfig
from diptych_training.models.clip import CLIP
from diptych_training.objectives.predictive import Predictive, PredictiveModel, TrainedModel
from diptych_training.paths import cache_dir
from diptych_training.progress import Reporter
from diptych_training.run_folder import RunFolder
from diptych_training.train.batches.image_features import ImageFeatures
from diptych_training.train.batches.teacher_texts import TeacherBatches
from diptych_training.train.batches.training_data import training_data
from diptych_training.train.create_run import OpenDrawings, create_run
from diptych_training.train.defaults import check_shares, check_validation, fastest_precision, with_defaults
from diptych_training.train.distributed.ranks import SINGLE_RANK, Ranks, join_ranks, rank_loss_as_error
from diptych_training.train.estimate import estimate
from diptych_training.train.lock import check_lock
from diptych_training.train.loop import RESUME_ADVICE, Loop
from diptych_training.train.memory_saving import check_compiler, keep_freed_memory
from diptych_training.train.metrics_log import MetricsLog, NoLog
from diptych_training.train.objective import drawn, objective_of
from diptych_training.train.resume import check_same_data, load_tokenizer, open_run
from diptych_training.train.state import TrainState, new_state
from diptych_training.train.teachers import OpenTeachers, load_teachers
from diptych_training.train.text_teacher.teacher_texts import TeacherTexts

BEFORE_FIRST_STEP = "before the first step"  # after a resume, too


def train_run(
    config: TrainConfig,
    dataset: PackedDataset,
    run_dir: Path,
    source_model: SourceModel | None = None,
    *,
    open_teachers: OpenTeachers = dict,
    open_drawings: OpenDrawings = lambda: None,
    resume: bool,
    device: str = AUTO,
    until: int | None = None,
    report: Reporter,
    before_first_step: Callable[[], object] = lambda: None,
    after_training: Callable[[TrainedModel], str] = lambda _: "",
    stops: Mapping[int, Callable[[TrainedModel], object]] = MappingProxyType({}),
) -> bool:
    """Train `run_dir` to its end, to step `until`, or until SIGINT or SIGTERM. Returns whether that step was
    reached.

    Arguments are those of `prepare`. `report` receives the folder, the estimate and the outcome as lines.
    `before_first_step` is called once everything was found to be in order. `after_training` gets the model
    once the first steps are measured, and returns what their line says of the work that follows. `stops` get
    the model that is validated, after so many steps. Raises RunInUse if another process trains in the folder.
    """
    keep_freed_memory()
    if config.run.n_threads:
        torch.set_num_threads(config.run.n_threads)
    resume = resume or _is_restarted_by_torchrun(run_dir)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == AUTO else device
    with (
        join_ranks(chosen, config.scale.timeout_s) as ranks,
        rank_loss_as_error(
            ranks, lambda: BEFORE_FIRST_STEP, RESUME_ADVICE if resume else "start all of them again"
        ),
        _run_lock(run_dir, ranks),
        naming_full_disk(run_dir),
    ):
        if config.scale.compile:
            check_compiler(ranks.device)  # before all data is read
        loop = prepare(
            config,
            dataset,
            run_dir,
            source_model,
            open_teachers=open_teachers,
            open_drawings=open_drawings,
            resume=resume,
            ranks=ranks,
        )
        if ranks.is_first:
            before_first_step()
        is_done = _train(loop, report if ranks.is_first else _say_nothing, after_training, until, stops)
        if ranks.is_first:
            is_end = loop.state.step == loop.config.run.steps
            report(
                f"{'finished' if is_end else 'stopped'} at step {loop.state.step}; {_summary_of_best(loop)}"
            )
    return is_done


def prepare(
    config: TrainConfig,
    dataset: PackedDataset,
    run_dir: Path,
    source_model: SourceModel | None = None,
    *,
    open_teachers: OpenTeachers = dict,
    open_drawings: OpenDrawings = lambda: None,
    resume: bool,
    ranks: Ranks = SINGLE_RANK,
) -> Loop:
    """Build everything that the loop needs, at step 0 or at the run's last checkpoint.

    `source_model` is the model that a new run starts from and `open_teachers` opens its teachers; a resumed
    run has both in its folder.
    """
    recipe, folder = config, RunFolder(run_dir)
    config = (
        open_run(run_dir, recipe)
        if resume
        else with_defaults(recipe, dataset, fastest_precision(ranks.device))
    )
    if resume:
        check_same_data(folder, config, dataset)
    data = training_data(dataset, config)
    check_validation(dataset, config)
    check_lock(config.model, config.lock, config.lora)
    check_shares(config, ranks)
    if not resume:
        ranks.run_on_first(
            lambda: create_run(
                run_dir,
                config,
                dataset,
                data.texts(),
                source_model,
                open_teachers=open_teachers,
                open_drawings=open_drawings,
                device=ranks.device,
            )
        )
    if not folder.config_file.is_file():
        raise TrainingConfigError(
            f"rank {ranks.rank} does not see {run_dir}: --runs-dir must be a folder that all machines share"
        )
    config = open_run(run_dir, recipe)  # what the first rank recorded: the device of another may differ
    tokenizer = load_tokenizer(folder, config)
    # Teachers come before the seed is set: building a model draws random numbers.
    teachers = load_teachers(folder, config, ranks)
    state = _state(config, folder, ranks, resume=resume)

    def validate_model(model: TrainedModel) -> dict[str, float]:
        templates = config.text.prompts["default"]
        return validate(model, tokenizer, dataset, config.preprocess, templates=templates)

    objective = state.model.objective if isinstance(state.model, PredictiveModel) else objective_of(config)
    features = (
        ImageFeatures(state.model, config, cache_dir() / "image-features", ranks)
        if config.lock.cache and isinstance(state.model, CLIP)
        else None
    )
    batches = data.batches(
        folder.tokenizer_file,
        ranks,
        first_step=state.step,
        position=state.position,
        features=features,
        weight=objective.weight if isinstance(objective, Predictive) else None,
    )
    if config.text_teacher is not None:
        teacher_texts = TeacherTexts.read(folder.teacher_texts_file)
        batches = TeacherBatches(batches, teacher_texts, tokenizer, config, ranks)
    return Loop(
        config=config,
        folder=folder,
        state=state,
        batches=drawn(batches, objective, config.seed, ranks.rank),
        validate=validate_model,
        log=MetricsLog(folder, resumed_at=state.step) if ranks.is_first else NoLog(),
        teachers=teachers,
    )


def _state(config: TrainConfig, folder: RunFolder, ranks: Ranks, *, resume: bool) -> TrainState:
    has_start = (
        config.start is not None
        or config.start_image is not None
        or isinstance(config.model.text, WordPiecesConfig)  # whose table is a sentence encoder's
    )
    start = read_checkpoint(folder.start) if has_start else None
    state = new_state(config, start, ranks, objective_builder(config, folder))
    if resume and folder.last.is_file():
        checkpoint = read_checkpoint(folder.last)
        try:
            state.restore(checkpoint)
        except CheckpointError as error:
            raise CheckpointError(f"{folder.last} is not of this run: {error}") from error
    return state


def _summary_of_best(loop: Loop) -> str:
    if not loop.config.run.best_by:
        return "no validation data: the last is the best"
    if math.isinf(loop.state.best_score):
        return "not validated yet; continue with --resume"
    return f"best {loop.state.best_score:.4f}"


@contextmanager
def _run_lock(run_dir: Path, ranks: Ranks) -> Iterator[None]:
    """Allow one training per run folder: the first rank holds the lock for all ranks."""
    lock_file = run_dir.parent / f".{run_dir.name}.lock"  # next to the folder, whose content may be replaced
    in_use = RunInUse(f"another process is training in {run_dir}")
    with ExitStack() as held:
        ranks.run_on_first(lambda: held.enter_context(exclusive_lock(lock_file, in_use)))
        yield


def _is_restarted_by_torchrun(run_dir: Path) -> bool:
    """Whether torchrun restarted this process after a rank was lost, and the run has a checkpoint to resume
    from.

    A run that was lost before its first checkpoint starts again.
    """
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 and RunFolder(run_dir).has_begun


def _say_nothing(_line: str) -> None:
    """Ranks but the first are silent."""


def _train(
    loop: Loop,
    report: Reporter,
    after_training: Callable[[TrainedModel], str],
    until: int | None,
    stops: Mapping[int, Callable[[TrainedModel], object]],
) -> bool:
    ranks, first = loop.state.ranks, loop.state.step
    try:
        with rank_loss_as_error(ranks, lambda: BEFORE_FIRST_STEP, RESUME_ADVICE):
            cost = estimate(loop.gradient_step, loop.batches, loop.config, loop.state.step)
        report(f"run folder: {loop.folder.path}")
        report(str(cost) if ranks.is_single else f"{ranks.world_size} ranks, each: {cost}")

        def time_left(n_done: int, took_s: float) -> str:
            minutes = cost.seconds_left(n_done, took_s) / 60
            rest = after_training(loop.state.model)
            return f"about {minutes:.1f} min left, measured over {n_done} steps{rest}"

        end = min(loop.config.run.steps, until or loop.config.run.steps)
        for step in sorted({end, *(one for one in stops if one >= first)}):
            if not loop.train(time_left if loop.state.step == first else None, step):
                return False
            if step in stops:
                stops[step](loop.state.validated_model)
        return True
    finally:
        loop.batches.close()
        loop.log.close()
