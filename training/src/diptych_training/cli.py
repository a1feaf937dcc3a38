"""The command line `diptych-train`; each command is a module of its own."""

import argparse
import os
import sys
from collections.abc import Sequence

from diptych.argument_parser import Parser
from diptych.errors import DiptychError
from diptych_training import __version__
from diptych_training.data.clip_art import command as clip_art
from diptych_training.data.gallery import command as gallery
from diptych_training.data.pairs.tools import inspect, near_duplicates, shards
from diptych_training.data.photographs import command as photographs
from diptych_training.data.photographs import proof_command as proof_photographs
from diptych_training.data.pictograms import command as pictograms
from diptych_training.data.pictograms import icon_set_command as icon_set
from diptych_training.data.shaded_drawings import command as shaded_drawings
from diptych_training.data.wordnet import command as wordnet
from diptych_training.errors import RankLost
from diptych_training.evaluate import command as evaluate
from diptych_training.evaluate.benchmark import command as benchmark
from diptych_training.evaluate.calibrate import command as calibrate
from diptych_training.export import command as export
from diptych_training.importing import command as importing
from diptych_training.importing import pack_command as pack
from diptych_training.importing import weights_command as weights
from diptych_training.models import command as models
from diptych_training.refresh import command as refresh
from diptych_training.study import ablate_command as ablate
from diptych_training.study import command as study
from diptych_training.train import command as train
from diptych_training.train.interpolate import command as interpolate

INTERRUPTED = 130  # exit code by shell convention: 128 + SIGINT


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with all commands and their flags."""
    parser = Parser(
        prog="diptych-train",
        description="Build data, train, ablate, evaluate, benchmark, study, interpolate, export, calibrate, "
        "import.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    data = commands.add_parser(
        "data", help="build a data set, or look at one", description="Build a data set, or look at one."
    )
    data_commands = data.add_subparsers(metavar="DATASET", required=True)
    for command in (
        pictograms,
        icon_set,
        gallery,
        photographs,
        proof_photographs,
        wordnet,
        clip_art,
        shaded_drawings,
        shards,
        pack,
        inspect,
        near_duplicates,
    ):
        command.add_parser(data_commands)
    for command in (
        refresh,
        train,
        ablate,
        models,
        evaluate,
        benchmark,
        study,
        interpolate,
        export,
        calibrate,
        weights,
        importing,
    ):
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Errors print one line on stderr and exit with code 1; Ctrl-C exits with code 130."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.run(args)
    except RankLost as error:
        _fail(str(error))
        sys.stdout.flush()
        sys.stderr.flush()
        # A normal exit of the interpreter would abort the process: threads that still communicate with the
        # lost rank cannot be stopped.
        os._exit(1)
    except DiptychError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'file system'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("diptych-train: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _fail(message: str) -> int:
    rank = os.environ.get("RANK", "0")  # the first of several ranks prints as a single process does
    print(
        f"diptych-train: {message}" if rank == "0" else f"diptych-train: rank {rank}: {message}",
        file=sys.stderr,
    )
    return 1
