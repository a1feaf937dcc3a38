"""`diptych models`: list the models of the server and show the version that serves, and a rollout under way.

Its verbs, such as `push`, have modules of their own.
"""

import argparse
import sys
from dataclasses import asdict
from typing import Any

from diptych.bundle.calibration import how_to_calibrate
from diptych.cli.arguments import add_server_arguments
from diptych.cli.commands import activate_model, compare_models, push_model, suggest_models
from diptych.cli.output.console import cell, format_bytes, out, out_json, out_table
from diptych.cli.output.precisions import candidate_line, device_line, parity_line, tensorrt_line
from diptych.cli.remote import run_with_client
from diptych.cli.rollouts import add_follow_flag, finish_rollout
from diptych_client import (
    Client,
    ModelSummary,
    Plan,
    PreviousVersion,
    Reliability,
    RolloutStatus,
    Serving,
    VersionRef,
)

_POLICIES = {
    "latest": "the server moves to new versions of the active model by itself",
    "manual": "the server moves when a version is activated",
    "pinned": "the settings of the server name the version",
}


def add_parser(subparsers: Any) -> None:
    """Declare the arguments of the command."""
    parser = subparsers.add_parser(
        "models",
        help="list the models and the served version; push and activate a version",
        description="List the models of the server's repository and their versions, and show the served "
        "version with its precision and the reason for it, and the rollout under way; or push a version, "
        "activate one, go back, compare two, or list checkpoints to import.",
    )
    add_server_arguments(parser)
    add_follow_flag(
        parser, default=None, about="follow the rollout under way to its end; default: on a terminal"
    )
    parser.set_defaults(run=run)
    verbs = parser.add_subparsers(required=False, metavar="push|activate|rollback|cancel|compare|suggest")
    push_model.add_verb(verbs)
    activate_model.add_verbs(verbs)
    compare_models.add_verb(verbs)
    suggest_models.add_verb(verbs)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    return run_with_client(args, _models)


def _models(args: argparse.Namespace, client: Client) -> int:
    models, status = client.models(), client.rollout_status()
    if args.json:
        out_json({"models": [asdict(model) for model in models], **asdict(status)})
        return 0
    out_table(["name", "versions", "loaded", "active"], [_row(model) for model in models], ["left"] * 4)
    for model in models:
        for one in model.ignored:
            out(f"{cell(model.name)}/{one.version} is ignored: {one.reason}")
        for folder in model.broken:
            out(f"{cell(model.name)}/{cell(folder.folder)} is no version: {folder.reason}")
        if model.replaced:
            out(f"{_active(model)} is no longer what the model repository has under its number")
    for folder in status.broken:
        out(f"{cell(folder.folder)} in the model repository is no model: {folder.reason}")
    _show_status(status)
    for model in models:
        if model.serving is not None:
            _show(_active(model), model.serving)
            out(f"  {_relevance(model)}")
    if status.rollout is None:
        return 0
    out()
    follow = sys.stdout.isatty() if args.follow is None else args.follow
    return finish_rollout(client, status.rollout, follow=follow, as_json=False)


def _show_status(status: RolloutStatus) -> None:
    if status.policy in _POLICIES:
        out(f"policy {status.policy}: {_POLICIES[status.policy]}")
    if status.previous is not None:
        previous = status.previous
        out(f"{cell(previous.exact)} in {previous.precision} served before: {_kept(previous)}")


def _kept(previous: PreviousVersion) -> str:
    """Describe how to go back, and the cost of keeping the version."""
    n_lagging = previous.n_lagging
    lag = f"it lacks vectors of {n_lagging} images" if n_lagging else "a rollback is immediate"
    indexes, weights = format_bytes(previous.memory_bytes), format_bytes(previous.weight_bytes)
    vectors, files = format_bytes(previous.vector_bytes), format_bytes(previous.bundle_bytes)
    memory = f"memory: {indexes} for vectors and {weights} for weights"
    return f"{lag}; {memory}; disk: {vectors} for vectors and {files} for files"


def _active(model: ModelSummary) -> str:
    return cell(VersionRef(model.name, model.active or 0, bundle=model.bundle).exact)


def _row(model: ModelSummary) -> list[str]:
    versions, loaded = (", ".join(map(str, numbers)) for numbers in (model.versions, model.loaded))
    return [model.name, versions, loaded, "" if model.active is None else str(model.active)]


def _relevance(model: ModelSummary) -> str:
    """Whether searches with the served version have a relevance, and how reliable it is."""
    found = model.calibration
    if found is None:
        return f"search hits have no relevance: {how_to_calibrate(f'{cell(model.name)}/{model.active}')}"
    kinds = {"by words": found.text, "by an image": found.image}
    parts = [f"{title} {_reliability(one)}" for title, one in kinds.items()]
    return f"relevance of searches: {'; '.join(parts)}; background of {found.n_background:,} images"


def _reliability(found: Reliability | None) -> str:
    if found is None:
        return "unknown"
    error = "unknown" if found.error is None else f"{found.error:.3f}"
    fitted = f"{found.n_queries:,} queries, error {error}"
    return fitted if found.ignored is None else f"{fitted}, ignored: {found.ignored}"


def _show(version: str, serving: Serving) -> None:
    out()
    out(f"{version} serves")
    if serving.device is not None:
        out(f"  {device_line(**vars(serving.device))}")
    out(f"  in {serving.precision}: {serving.reason}")
    for candidate in serving.candidates:
        out(candidate_line(**vars(candidate)))
    _show_plan(serving.plan)
    if serving.parity is not None:
        out(parity_line(serving.precision, **vars(serving.parity)))
    running = serving.running
    if running is not None and running.tensorrt is not None:
        out(tensorrt_line(running.precision, **vars(running.tensorrt)))


def _show_plan(plan: Plan | None) -> None:
    if plan is not None:
        out(
            f"    lanes: {plan.n_lanes}, batches of at most: {plan.image_batch_size} images or "
            f"{plan.text_batch_size} texts, threads that decode: {plan.n_decode_threads}"
        )
