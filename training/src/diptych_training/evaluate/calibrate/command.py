"""`diptych-train calibrate`: measure what makes the relevance of search hits, for a version that lacks it."""

import argparse
from pathlib import Path

from diptych.bundle.repository import ModelRepository
from diptych_training.evaluate.calibrate.calibrate import calibrate_version, summary
from diptych_training.evaluate.evaluated_model import named_bundle
from diptych_training.flags import add_model_repo_flag


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "calibrate",
        help="measure the relevance of search hits for a version that lacks it",
        description="Writes <version>.calibration.npz next to a version, which does not change. Servers then "
        "give search hits a relevance from 0 to 1; those that run read the file within seconds.",
    )
    parser.add_argument(
        "bundle", metavar="NAME[/V]", help="a model, by default its latest version with ONNX graphs"
    )
    add_model_repo_flag(parser)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a packed data set, such as that of DIPTYCH_DATA, whose held-out pictures are used with the "
        "proof set; default: the proof set alone",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Calibrate the version; print the file, and how reliable relevance is."""
    repository = ModelRepository(args.model_repo)
    name, version = named_bundle(repository, args.bundle)
    found = calibrate_version(repository, name, version, args.data)
    print(summary(found.calibration))
    print(found.file)
    return 0
