"""`diptych-train ablate`: train the variants of a plan one after the other, and tabulate the effect of each
change.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from diptych_training.config import TrainConfig
from diptych_training.data.packed import read_dataset
from diptych_training.errors import RunInUse, TrainingConfigError, TrainingFailed
from diptych_training.files import file_lock, write_text
from diptych_training.flags import add_data_flag, add_device_flag, add_model_repo_flag, add_runs_dir_flag
from diptych_training.importing.source_model import SourceModel
from diptych_training.paths import cache_dir
from diptych_training.run_folder import RunFolder
from diptych_training.study.ablation import ablation_tables
from diptych_training.study.outcome import Ablation, Outcome, collect_ablation, read_outcome
from diptych_training.study.plan import ABLATIONS, AblationPlan, AblationVariant, plans_in, read_ablation_plan
from diptych_training.study.runner import StudyRunner
from diptych_training.train.command import open_recipe

FAILED, INTERRUPTED = 1, 130
Recipes = dict[str, TrainConfig]


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "ablate",
        help="train the variants of a recipe, and show in one table what each change does",
        description="Trains each variant of a plan as a run of its own. Finished runs are kept, unfinished "
        "ones are resumed: after an interruption, the same command continues the plan.",
    )
    parser.add_argument(
        "plan", metavar="PLAN", help=f"a TOML file, or a shipped plan ({', '.join(plans_in(ABLATIONS))})"
    )
    part = parser.add_mutually_exclusive_group()
    part.add_argument(
        "--only", metavar="NAME[,NAME]", help="train these variants; other processes may train others"
    )
    part.add_argument(
        "--table", action="store_true", help="train nothing, write the table of the existing runs"
    )
    add_runs_dir_flag(parser)
    add_data_flag(parser, "a packed data set")
    add_model_repo_flag(parser, "where recipes that start from a model look for it")
    add_device_flag(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="for ablation.md and .json; default: <runs-dir>/<plan's name>"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train the variants. Returns 0 if all finished, 1 if one failed, 130 if a signal stopped them."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingConfigError("ablate trains in one process: start several with --only, without torchrun")
    plan = read_ablation_plan(args.plan)
    out = args.out or args.runs_dir / plan.name
    if RunFolder(out).config_file.is_file():
        raise TrainingConfigError(
            f"{out} is the folder of a run: choose another folder for the table with --out"
        )
    chosen = _select_variants(plan, args.only)
    recipes = {
        variant.name: open_variant(plan, variant, args.runs_dir, args.model_repo)[0]
        for variant in plan.variants
    }  # all of them first: an error in the last one must not show up after hours
    if not args.table:
        _check_unfinished_runs(plan, [_outcome(plan, variant, recipes, args) for variant in chosen])
    code = 0 if args.table else _train_all(plan, chosen, recipes, args, out)
    if code == INTERRUPTED:
        print("stopped: the same command continues")
        return code
    print(ablation_tables(_write(plan, recipes, args, out)))
    print(*(out / file for file in ("ablation.md", "ablation.json")), sep="\n")
    return code


def _train_all(
    plan: AblationPlan,
    chosen: Sequence[AblationVariant],
    recipes: Recipes,
    args: argparse.Namespace,
    out: Path,
) -> int:
    report = partial(print, flush=True)
    dataset = read_dataset(args.data)
    runner = StudyRunner(dataset, args.runs_dir, args.model_repo, cache_dir(), args.device, report)
    code = 0
    for number, variant in enumerate(chosen, 1):
        outcome = _outcome(plan, variant, recipes, args)  # read again: another process may have trained it
        report(f"[{number}/{len(chosen)}] {_progress_line(outcome)}")
        if outcome.state != "finished":
            code = _train(plan, variant, runner) or code
            _write(plan, recipes, args, out)
        if code == INTERRUPTED:
            return code
    return code


def _select_variants(plan: AblationPlan, only: str | None) -> list[AblationVariant]:
    if only is None:
        return list(plan.variants)
    named = {variant.name: variant for variant in plan.variants}
    wanted = [name.strip() for name in only.split(",")]
    unknown = [name for name in wanted if name not in named]
    if unknown:
        raise TrainingConfigError(
            f"--only {only}: plan {plan.name} has no variant {unknown[0]!r}, it has: {', '.join(named)}"
        )
    return [named[name] for name in dict.fromkeys(wanted)]


def _check_unfinished_runs(plan: AblationPlan, outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.state == "broken off" and outcome.differs is not None:
            raise TrainingConfigError(
                f"{outcome.run} is unfinished and has another recipe than {plan.name}: {outcome.differs}: "
                "remove the run, or rename the variant"
            )


def _progress_line(outcome: Outcome) -> str:
    match outcome.state:
        case "finished":
            return f"{outcome.run}: finished"
        case "broken off":
            return f"{outcome.run}: {outcome.says}; resumes after step {outcome.step:,}"
        case "not begun":
            return f"{outcome.run}: {outcome.says}"


def _train(plan: AblationPlan, variant: AblationVariant, runner: StudyRunner) -> int:
    """Train a variant in this process. A failed one does not stop the others."""
    n_threads = torch.get_num_threads()
    try:
        config, source = open_variant(plan, variant, runner.runs_dir, runner.model_repo)
        return 0 if runner.train(config, runner.dataset, source) else INTERRUPTED
    except RunInUse as error:
        print(f"{error}: skipped here")
        return 0
    except TrainingFailed as error:
        print(f"{plan.run_name(variant)} failed: {error}")
        return FAILED
    finally:
        torch.set_num_threads(n_threads)


def open_variant(
    plan: AblationPlan, variant: AblationVariant, runs_dir: Path, model_repo: Path
) -> tuple[TrainConfig, SourceModel | None]:
    """The recipe of a variant, and the model that a new run of it starts from.

    Raises TrainingConfigError naming the variant and the key.
    """
    name = plan.run_name(variant)
    is_begun = RunFolder(runs_dir / name).has_begun
    changes = plan.overrides(variant)
    try:
        return open_recipe(
            plan.base, changes, name, runs_dir=runs_dir, model_repo=model_repo, resume=is_begun
        )
    except TrainingConfigError as error:
        raise TrainingConfigError(f"variant {variant.name} of plan {plan.name}: {error}") from error


def _outcome(
    plan: AblationPlan, variant: AblationVariant, recipes: Recipes, args: argparse.Namespace
) -> Outcome:
    folder = RunFolder(args.runs_dir / plan.run_name(variant))
    return read_outcome(plan, variant, recipes[variant.name], folder)


def _write(plan: AblationPlan, recipes: Recipes, args: argparse.Namespace, out: Path) -> Ablation:
    """Write the table of all runs so far, including those that other processes have finished meanwhile."""
    with file_lock(out.parent / f".{out.name}.lock"):
        outcomes = [_outcome(plan, variant, recipes, args) for variant in plan.variants]
        ablation = collect_ablation(plan, outcomes, args.runs_dir)
        write_text(out / "ablation.md", ablation_tables(ablation))
        write_text(out / "ablation.json", ablation.model_dump_json(indent=1) + "\n")
    return ablation
