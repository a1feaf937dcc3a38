"""`diptych-train ablate`: train the variants of a plan one after the other, and tabulate the effect of each
change.
"""

import argparse
import os
from pathlib import Path

import torch

from diptych_training.ablate.outcome import collect_ablation, read_outcome
from diptych_training.ablate.plan import Plan, Variant, read_plan, shipped_plans
from diptych_training.ablate.report.results import Ablation, Outcome
from diptych_training.ablate.report.table import ablation_tables
from diptych_training.config import TrainConfig
from diptych_training.errors import RunInUse, TrainingConfigError, TrainingFailed
from diptych_training.files import file_lock, write_text
from diptych_training.flags import add_model_repo_flag, add_runs_dir_flag
from diptych_training.paths import data_dir
from diptych_training.run_folder import RunFolder
from diptych_training.train import command as train
from diptych_training.train.flags import add_device_flag

FAILED = 1
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
        "plan", metavar="PLAN", help=f"a TOML file, or a shipped plan ({', '.join(shipped_plans())})"
    )
    part = parser.add_mutually_exclusive_group()
    part.add_argument(
        "--only", metavar="NAME[,NAME]", help="train these variants; other processes may train others"
    )
    part.add_argument(
        "--table", action="store_true", help="train nothing, write the table of the existing runs"
    )
    add_runs_dir_flag(parser)
    parser.add_argument(
        "--data", type=Path, default=data_dir(), metavar="DIR", help="a packed data set (DIPTYCH_DATA)"
    )
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
    plan = read_plan(args.plan)
    out = args.out or args.runs_dir / plan.name
    if RunFolder(out).config_file.is_file():
        raise TrainingConfigError(
            f"{out} is the folder of a run: choose another folder for the table with --out"
        )
    chosen = _select_variants(plan, args.only)
    recipes = _recipes(plan, args)  # all of them first: an error in the last one must not show up after hours
    if not args.table:
        _check_unfinished_runs(plan, [_outcome(plan, variant, recipes, args) for variant in chosen])
    code = 0
    for number, variant in enumerate([] if args.table else chosen, 1):
        outcome = _outcome(plan, variant, recipes, args)  # read again: another process may have trained it
        print(f"[{number}/{len(chosen)}] {_progress_line(outcome)}", flush=True)
        if outcome.state != "finished":
            code = _train(plan, variant, args) or code
            _write(plan, recipes, args, out)
        if code == train.INTERRUPTED:
            print("stopped: the same command continues")
            return code
    print(ablation_tables(_write(plan, recipes, args, out)))
    print(*(out / file for file in ("ablation.md", "ablation.json")), sep="\n")
    return code


def _select_variants(plan: Plan, only: str | None) -> list[Variant]:
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


def _check_unfinished_runs(plan: Plan, outcomes: list[Outcome]) -> None:
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


def _train(plan: Plan, variant: Variant, args: argparse.Namespace) -> int:
    """Run `train` in this process. A failed variant does not stop the others."""
    n_threads = torch.get_num_threads()
    try:
        return train.run(recipe_arguments(plan, variant, args))
    except RunInUse as error:
        print(f"{error}: skipped here")
        return 0
    except TrainingFailed as error:
        print(f"{plan.run_name(variant)} failed: {error}")
        return FAILED
    finally:
        torch.set_num_threads(n_threads)


def recipe_arguments(plan: Plan, variant: Variant, args: argparse.Namespace) -> argparse.Namespace:
    """The arguments of `diptych-train train` for a variant."""
    parser = argparse.ArgumentParser()
    train.add_parser(parser.add_subparsers())
    name = plan.run_name(variant)
    folders = [f"--runs-dir={args.runs_dir}", f"--data={args.data}", f"--model-repo={args.model_repo}"]
    overrides = [f"--set={change}" for change in plan.overrides(variant)]
    resume = ["--resume"] if RunFolder(args.runs_dir / name).has_begun else []
    return parser.parse_args(
        ["train", plan.base, "--name", name, *folders, "--device", args.device, *overrides, *resume]
    )


def _recipes(plan: Plan, args: argparse.Namespace) -> Recipes:
    """The recipe of each variant by its name. Raises TrainingConfigError naming the variant and the key."""
    found = {}
    for variant in plan.variants:
        try:
            found[variant.name], _ = train.recipe_and_source_model(recipe_arguments(plan, variant, args))
        except TrainingConfigError as error:
            raise TrainingConfigError(f"variant {variant.name} of plan {plan.name}: {error}") from error
    return found


def _outcome(plan: Plan, variant: Variant, recipes: Recipes, args: argparse.Namespace) -> Outcome:
    folder = RunFolder(args.runs_dir / plan.run_name(variant))
    return read_outcome(plan, variant, recipes[variant.name], folder)


def _write(plan: Plan, recipes: Recipes, args: argparse.Namespace, out: Path) -> Ablation:
    """Write the table of all runs so far, including those that other processes have finished meanwhile."""
    with file_lock(out.parent / f".{out.name}.lock"):
        outcomes = [_outcome(plan, variant, recipes, args) for variant in plan.variants]
        ablation = collect_ablation(plan, outcomes, args.runs_dir)
        write_text(out / "ablation.md", ablation_tables(ablation))
        write_text(out / "ablation.json", ablation.model_dump_json(indent=1) + "\n")
    return ablation
