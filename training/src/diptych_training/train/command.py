"""`diptych-train train`: train a model by a recipe, or go on with a run."""

import argparse
import os
from pathlib import Path

import torch

from diptych_training.checkpoint import read_checkpoint
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.files import sole_owner
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.errors import TrainingConfigError
from diptych_training.evaluate.validation import validate
from diptych_training.models.clip import CLIP
from diptych_training.paths import data_dir, runs_dir
from diptych_training.run_folder import RunFolder
from diptych_training.train.allocator import keep_freed_memory
from diptych_training.train.batches import BatchMaker
from diptych_training.train.estimate import estimate
from diptych_training.train.loop import Loop
from diptych_training.train.metrics_log import MetricsLog
from diptych_training.train.setup import (
    check_validation,
    create_run,
    load_tokenizer,
    open_run,
    train_sources,
)
from diptych_training.train.state import TrainState, new_state

CONFIGS = Path(__file__).parent.parent / "configs"
INTERRUPTED = 130
AUTO = "auto"  # as a device, also for servers


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    shipped = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.toml")))
    parser = subparsers.add_parser("train", help="train a model", description="Train a model by a recipe.")
    parser.add_argument(
        "config", metavar="CONFIG", help=f"a TOML file, or the name of a shipped recipe ({shipped})"
    )
    parser.add_argument("--name", help="name of the run; the recipe's own if left out")
    parser.add_argument("--runs-dir", type=Path, default=runs_dir(), metavar="DIR", help="DIPTYCH_RUNS_DIR")
    parser.add_argument(
        "--data", type=Path, default=data_dir(), metavar="DIR", help="a packed data set (DIPTYCH_DATA)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change a key"
    )
    parser.add_argument(
        "--device",
        default=os.environ.get("DIPTYCH_DEVICE") or AUTO,
        help="cpu, cuda, cuda:1 and so on; auto: cuda where there is one (DIPTYCH_DEVICE)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train to the end: 0. Stopped by a signal after a checkpoint: 130."""
    config = _config(args)
    dataset = read_dataset(args.data)
    keep_freed_memory()
    if config.run.n_threads:
        torch.set_num_threads(config.run.n_threads)
    run_dir = args.runs_dir / config.name
    in_use = TrainingConfigError(f"another process is training in {run_dir}")
    with sole_owner(
        args.runs_dir / f".{config.name}.lock", in_use
    ):  # beside it: what is in it may be replaced
        loop = prepare(config, dataset, run_dir, resume=args.resume, device=args.device)
        is_done = _train(loop)
    print(
        f"{'finished' if is_done else 'stopped'} at step {loop.state.step}; best {loop.state.best_score:.4f}"
    )
    return 0 if is_done else INTERRUPTED


def _train(loop: Loop) -> bool:
    print(f"run folder: {loop.folder.path}")
    try:
        cost = estimate(loop.state.model, loop.batches, loop.config, loop.state.step)
        print(cost, flush=True)
        return loop.train(cost.seconds_left)
    finally:
        loop.log.close()


def prepare(
    config: TrainConfig, dataset: PackedDataset, run_dir: Path, *, resume: bool, device: str = "cpu"
) -> Loop:
    """Everything that the loop needs, at step 0 or where the run's last checkpoint stands."""
    sources = train_sources(dataset, config)
    check_validation(dataset, config)
    on = _device(device)
    folder = open_run(run_dir, config) if resume else create_run(run_dir, config, sources)
    tokenizer = load_tokenizer(folder, config)
    state = _state(config, folder, resume=resume, device=on)

    def validate_model(model: CLIP) -> dict[str, float]:
        templates = config.text.prompts["default"]
        return validate(model, tokenizer, dataset, config.preprocess, templates=templates)

    return Loop(
        config=config,
        folder=folder,
        state=state,
        batches=BatchMaker(sources, tokenizer, config),
        validate=validate_model,
        log=MetricsLog(folder, resumed_at=state.step),
    )


def _state(config: TrainConfig, folder: RunFolder, *, resume: bool, device: torch.device) -> TrainState:
    state = new_state(config, device)
    if resume and folder.last.is_file():
        state.restore(read_checkpoint(folder.last))
    return state


def _device(name: str) -> torch.device:
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()  # a device of a known name may still not be there
    except (RuntimeError, AssertionError) as error:
        raise TrainingConfigError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return torch.device(name)


def _config(args: argparse.Namespace) -> TrainConfig:
    shipped = CONFIGS / f"{args.config}.toml"
    return read_config(shipped if shipped.is_file() else Path(args.config), args.overrides, args.name)
