"""`diptych-train study`: check the claims of the CLIP paper on a packed data set, by many runs."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from diptych_training.data.packed import read_dataset
from diptych_training.data.pictograms.build import require_complete
from diptych_training.errors import EvaluationError, TrainingFailed
from diptych_training.flags import add_data_flag, add_device_flag, add_model_repo_flag, add_runs_dir_flag
from diptych_training.paths import cache_dir
from diptych_training.reports.markdown import markdown_table
from diptych_training.schema import find_record
from diptych_training.study.cells import Cell, Run, cells_of
from diptych_training.study.page import TITLES, write_page
from diptych_training.study.plan import STUDIES, Part, StudyPlan, plans_in, read_study_plan
from diptych_training.study.prediction import (
    Prediction,
    current_prediction,
    predict,
    prediction_file,
    write_prediction,
)
from diptych_training.study.results import (
    Result,
    all_results,
    code_commit,
    result_file,
    seconds_of,
    write_result,
)
from diptych_training.study.runner import Stopped, StudyRunner
from diptych_training.study.scaling import MIN_FITTED

FAILED, INTERRUPTED = 1, 130


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "study",
        help="check the claims of the CLIP paper by many runs, and write a page of findings",
        description="Trains and measures the models of a plan. Each measured model is a small JSON file; "
        "what is there and unchanged is not run again: after an interruption, the same command continues.",
    )
    parser.add_argument(
        "--budget",
        default="full",
        metavar="PLAN",
        help=f"a shipped plan ({', '.join(plans_in(STUDIES))}) or a TOML file; default: full",
    )
    parser.add_argument(
        "--parts", metavar="PART[,PART]", help=f"run these parts only, of {', '.join(get_args(Part))}"
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "--plan", action="store_true", help="show what is done, what is left and how long it will take"
    )
    only.add_argument("--page-only", action="store_true", help="run nothing, write the page of what is there")
    only.add_argument(
        "--predict",
        action="store_true",
        help="run the smaller models of the series alone, and write what their law predicts of the others",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("training/study/results"),
        metavar="DIR",
        help="for the JSON files; default: ./training/study/results",
    )
    parser.add_argument(
        "--page",
        type=Path,
        default=Path("docs/study.md"),
        metavar="FILE",
        help="whose marked sections are written; figures next to it; default: ./docs/study.md",
    )
    add_runs_dir_flag(parser)
    add_data_flag(parser, "a packed data set")
    add_model_repo_flag(parser)
    add_device_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run what is left. Returns 0 if all is measured, 1 if a run failed, 130 if a signal stopped it."""
    plan = read_study_plan(args.budget)
    dataset = read_dataset(args.data)
    require_complete(dataset)
    cells = cells_of(plan, dataset)
    runner = StudyRunner(dataset, args.runs_dir, args.model_repo, cache_dir(), args.device, print)
    folder = args.results / plan.name
    if args.predict and (plan.scaling is None or args.parts is not None):
        raise EvaluationError(f"--predict is of the part scaling, {_without(plan, args.parts)}")
    chosen = [cell for cell in _chosen(cells, args.parts) if not args.predict or _is_fitted(cell)]
    print(_progress(plan, chosen, folder, args.results, runner), flush=True)
    if args.plan:
        return 0
    code = 0 if args.page_only else _run_all(chosen, folder, runner, cells)
    results, file = _current(cells, folder, runner.data), prediction_file(folder)
    if args.predict and code == 0:
        code = _predict(plan, cells, results, runner.data, file)
    write_page(args.page, plan, cells, results, current_prediction(file, cells, runner.data))
    print(args.page)
    return code


def _without(plan: StudyPlan, parts: str | None) -> str:
    return f"which plan {plan.name} lacks" if plan.scaling is None else f"so leave out --parts {parts}"


def _is_fitted(cell: Cell) -> bool:
    return cell.part == "scaling" and not cell.is_predicted


def _predict(
    plan: StudyPlan, cells: Sequence[Cell], results: Mapping[str, Result], data: str, file: Path
) -> int:
    """Write the prediction of the series. Returns 1 if too few models are there to fit a law, or if another
    prediction was written before the larger ones were measured.
    """
    assert plan.scaling is not None
    prediction = predict(plan.scaling, cells, results, data)
    if prediction is None:
        print(f"no prediction: a law needs {MIN_FITTED} models")
        return FAILED
    measured = [cell.name for cell in cells if cell.is_predicted and cell.digest(data) in results]
    if measured and find_record(file, Prediction) not in (None, prediction):
        print(
            f"{file}: written before {', '.join(measured)}, and the results now predict something else. "
            "To predict anew, remove it and their results."
        )
        return FAILED
    if write_prediction(file, prediction):
        print(f"{file}: commit it with the results, then run the study without --predict")
    return 0


def _chosen(cells: Sequence[Cell], parts: str | None) -> list[Cell]:
    if parts is None:
        return list(cells)
    wanted = [part.strip() for part in parts.split(",")]
    for part in wanted:
        if part not in get_args(Part):
            raise EvaluationError(f"--parts {parts}: {part!r} is not one of {', '.join(get_args(Part))}")
    return [cell for cell in cells if cell.part in wanted]


def _current(cells: Sequence[Cell], folder: Path, data: str) -> dict[str, Result]:
    """The results that are of these very cells and data, by digest."""
    found = (find_record(result_file(folder, cell.part, cell.name), Result) for cell in cells)
    return {
        result.digest: result
        for cell, result in zip(cells, found, strict=True)
        if result is not None and result.digest == cell.digest(data)
    }


def _progress(
    plan: StudyPlan, cells: Sequence[Cell], folder: Path, results: Path, runner: StudyRunner
) -> str:
    """A table of what is done, what is left, and how long that will take."""
    done = _current(cells, folder, runner.data)
    known = all_results(results)
    left = [cell for cell in cells if cell.digest(runner.data) not in done]
    seconds = seconds_of(left, known, runner.step_of)
    rows = []
    for part in TITLES:
        n = sum(cell.part == part for cell in cells)
        own = [(cell, s) for cell, s in zip(left, seconds, strict=True) if cell.part == part]
        runs = {cell.model.name for cell, _ in own if isinstance(cell.model, Run)}
        minutes = sum(s for _, s in own) / 60
        rows.append([part, str(n - len(own)), str(len(own)), str(len(runs)), f"{minutes:.0f}"])
    return f"study {plan.name}\n" + markdown_table(["part", "measured", "left", "runs", "about min"], rows)


def _run_all(chosen: Sequence[Cell], folder: Path, runner: StudyRunner, cells: Sequence[Cell]) -> int:
    """Run the chosen cells of all that are not current. A run that fails does not stop the others.

    What is to be predicted waits for the prediction.
    """
    code, failed = 0, set[str]()
    prediction = current_prediction(prediction_file(folder), cells, runner.data)
    for number, cell in enumerate(chosen, 1):
        file = result_file(folder, cell.part, cell.name)
        stored = find_record(file, Result)
        is_current = stored is not None and stored.digest == cell.digest(runner.data)
        if is_current or (isinstance(cell.model, Run) and cell.model.name in failed):
            continue
        print(f"[{number}/{len(chosen)}] {cell.part}/{cell.name}", flush=True)
        if cell.is_predicted and prediction is None:
            print(f"{cell.name} waits for a prediction: run the study with --predict first")
            code = FAILED
            continue
        commit = code_commit()  # before an hour of training, in which the checkout may move
        try:
            result = runner.run(cell)
            used = prediction.sha256 if prediction is not None and cell.is_predicted else None
            write_result(file, result.model_copy(update={"prediction": used, "commit": commit}))
        except TrainingFailed as error:
            assert isinstance(cell.model, Run)
            print(f"{cell.model.name} failed: {error}")
            failed.add(cell.model.name)
            code = FAILED
        except Stopped:
            print("stopped: the same command continues")
            return INTERRUPTED
    return code
