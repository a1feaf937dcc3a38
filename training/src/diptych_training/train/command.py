"""`diptych-train train`: train a model by a recipe, or go on with a run."""

import argparse
from pathlib import Path

import torch

from diptych_training.checkpoint import read_checkpoint
from diptych_training.config import TrainConfig, read_config
from diptych_training.data.packed import PackedDataset, read_dataset
from diptych_training.evaluate.validation import validate
from diptych_training.models.clip import CLIP
from diptych_training.paths import cache_dir
from diptych_training.run_folder import RunFolder
from diptych_training.train.allocator import keep_freed_memory
from diptych_training.train.batches import BatchMaker
from diptych_training.train.estimate import estimate
from diptych_training.train.loop import Loop
from diptych_training.train.metrics_log import MetricsLog
from diptych_training.train.setup import create_run, load_tokenizer, open_run, train_sources
from diptych_training.train.state import TrainState, new_state

CONFIGS = Path(__file__).parent.parent / "configs"
INTERRUPTED = 130


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    shipped = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.toml")))
    parser = subparsers.add_parser("train", help="train a model", description="Train a model by a recipe.")
    parser.add_argument(
        "config", metavar="CONFIG", help=f"a TOML file, or the name of a shipped recipe ({shipped})"
    )
    parser.add_argument("--name", help="name of the run; the recipe's own if left out")
    parser.add_argument("--runs-dir", type=Path, default=cache_dir() / "runs", metavar="DIR")
    parser.add_argument(
        "--data", type=Path, default=cache_dir() / "pictograms", metavar="DIR", help="a packed data set"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the run's last checkpoint")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change a key"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train to the end: 0. Stopped by a signal after a checkpoint: 130."""
    config = _config(args)
    dataset = read_dataset(args.data)
    keep_freed_memory()
    if config.run.n_threads:
        torch.set_num_threads(config.run.n_threads)
    loop = prepare(config, dataset, args.runs_dir / config.name, resume=args.resume, device=args.device)
    print(f"run folder: {loop.folder.path}")
    print(estimate(loop.state.model, loop.batches, config, loop.state.step), flush=True)
    try:
        is_done = loop.train()
    finally:
        loop.log.close()
    print(
        f"{'finished' if is_done else 'stopped'} at step {loop.state.step}; best {loop.state.best_score:.4f}"
    )
    return 0 if is_done else INTERRUPTED


def prepare(
    config: TrainConfig, dataset: PackedDataset, run_dir: Path, *, resume: bool, device: str = "cpu"
) -> Loop:
    """Everything that the loop needs, at step 0 or where the run's last checkpoint stands."""
    sources = train_sources(dataset, config)
    folder = open_run(run_dir, config) if resume else create_run(run_dir, config, sources)
    tokenizer = load_tokenizer(folder, config)
    state = _state(config, folder, resume=resume, device=device)

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


def _state(config: TrainConfig, folder: RunFolder, *, resume: bool, device: str) -> TrainState:
    state = new_state(config, torch.device(device))
    if resume and folder.last.is_file():
        state.restore(read_checkpoint(folder.last))
    return state


def _config(args: argparse.Namespace) -> TrainConfig:
    shipped = CONFIGS / f"{args.config}.toml"
    overrides = [*args.overrides, *([f"name={args.name}"] if args.name else [])]
    return read_config(shipped if shipped.is_file() else Path(args.config), overrides)
