"""`diptych-train refresh`: teach a model one's own pictures, and publish the result as a new version."""

import argparse
from functools import partial
from pathlib import Path

from diptych.bundle.repository import SHIPPED_NAME
from diptych.errors import InvalidValue
from diptych_training.data.packed import read_dataset
from diptych_training.data.pairs.packing import UNKNOWN
from diptych_training.data.pairs.tools.flags import (
    SOURCES_HELP,
    add_source_flags,
    natural,
    positive,
    reading_options,
    share,
)
from diptych_training.export.model_card.licence import UNKNOWN as UNKNOWN_LICENCE
from diptych_training.export.run_export import require_publishable
from diptych_training.flags import (
    add_data_flag,
    add_device_flag,
    add_model_repo_flag,
    add_overrides_flag,
    add_runs_dir_flag,
)
from diptych_training.paths import data_dir
from diptych_training.progress import Reporter
from diptych_training.push import KEY_VARIABLE, add_push_flag, environment_key, require_server
from diptych_training.refresh.evaluation.evaluate import MAX_LOSS
from diptych_training.refresh.finish import how_to_serve, push_outcome
from diptych_training.refresh.pairs.prepare import PairsOptions
from diptych_training.refresh.refresh import refresh, require_start
from diptych_training.refresh.reviewed.fetch import Reviewed, fetch_reviewed
from diptych_training.refresh.reviewed.server import Address, address_of
from diptych_training.refresh.start import Places, RefreshOptions
from diptych_training.stages import sigterm_as_interrupt

INTERRUPTED = 130
ABOUT = """Looks at the pairs, chooses a recipe by their number, trains, measures what was gained and lost on
held-out pairs and on the pairs shipped with the model, mixes old and new weights, and publishes the mix as
the next version of NAME in every precision of the old one, its weights stored as there. After an
interruption, repeat the command."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "refresh", help="teach a model your own pictures, and publish the result", description=ABOUT
    )
    parser.add_argument("sources", metavar="PICTURES", nargs="*", help=SOURCES_HELP)
    parser.add_argument(
        "--collection",
        metavar="URL",
        help="in place of PICTURES: a collection of a running server, such as "
        "http://127.0.0.1:8000/collections/pets, whose reviewed pictures are downloaded with the key in "
        f"{KEY_VARIABLE}",
    )
    parser.add_argument("--label-set", metavar="SET", help="of the collection: the labels are the captions")
    parser.add_argument("--name", required=True, help="name of your model in the repository")
    parser.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="NAME or NAME/VERSION to start from; default: the newest version of --name, or else "
        f"{SHIPPED_NAME}",
    )
    parser.add_argument("--look", action="store_true", help="look at the pairs, write the recipe, and stop")
    parser.add_argument(
        "--max-loss",
        type=_points,
        default=MAX_LOSS,
        metavar="POINTS",
        help="publish nothing if top-1 on the shipped drawings or photographs may have fallen by more "
        "(default: %(default)g)",
    )
    parser.add_argument(
        "--shipped-pictures",
        type=positive,
        metavar="N",
        help="pictures of the shipped set to judge by; default: all",
    )
    parser.add_argument(
        "--alpha",
        type=_weight,
        metavar="WEIGHT",
        help="weight of what was learned, above 0, at most 1; default: chosen on held-out pairs",
    )
    parser.add_argument(
        "--half-weights",
        action=argparse.BooleanOptionalAction,
        help="store weights as float16, at half the size; default: as the version that it starts from does",
    )
    parser.add_argument("--again", action="store_true", help="train once more if it is finished")
    add_push_flag(parser, without_url=" (default: that of --collection)")
    _add_training_flags(parser)
    _add_pairs_flags(parser)
    parser.set_defaults(run=run)


def _add_training_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="train by this recipe, not by the chosen one"
    )
    add_overrides_flag(parser)
    add_device_flag(parser)
    add_runs_dir_flag(parser)
    add_model_repo_flag(parser)
    add_data_flag(parser, "data set that the old model was trained on, rehearsed if it is there")
    parser.add_argument(
        "--licence",
        help="licence of the new weights; default: the strictest licence recorded for what they learn from, "
        f"{UNKNOWN_LICENCE} if one is not recorded",
    )


def _add_pairs_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hold-out",
        type=share,
        default=PairsOptions.hold_out,
        metavar="SHARE",
        help="share of the pairs that is not trained on, to judge by; fewer than 200 pairs are judged in "
        "folds, unless it is 0 (default: %(default)g)",
    )
    parser.add_argument(
        "--limit",
        type=positive,
        default=PairsOptions.limit,
        metavar="N",
        help="pairs to use at most (default: %(default)d)",
    )
    parser.add_argument("--seed", type=natural, default=0, help="of what is drawn where there are more")
    parser.add_argument(
        "--pictures-licence", default=UNKNOWN, metavar="LICENCE", help="counts for the weights"
    )
    parser.add_argument("--author", default=UNKNOWN, help="of the pictures, for the model card")
    add_source_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Refresh. Returns 0 once it is done, 130 if a signal interrupted it."""
    places, address = Places(args.model_repo, args.runs_dir), _address(args)
    _require_name(args.name)
    require_publishable("--name", args.name, args.model_repo)
    push = _push_url(args, address)
    if push is not None:
        require_server(args.name, push, environment_key())
    report = partial(print, flush=True)
    try:
        with sigterm_as_interrupt():
            reviewed = None if address is None else _fetched(args, places, address)
            outcome = refresh(_options(args, reviewed), places, report)
    except KeyboardInterrupt:
        return _interrupted(report)
    if outcome.is_interrupted:
        return _interrupted(report)
    if outcome.published is not None:
        if push is None:
            report(how_to_serve(outcome.published, places.model_repo))
        else:
            push_outcome(outcome, places, push, address, report)
    return 0


def _address(args: argparse.Namespace) -> Address | None:
    """The label set whose pictures are used, None for pictures in files. Raises InvalidValue for both."""
    if args.sources and (args.collection or args.label_set):
        raise InvalidValue("give either PICTURES, or --collection with --label-set")
    if args.sources:
        return None
    if args.collection is None or args.label_set is None:
        raise InvalidValue("give PICTURES, or --collection with --label-set")
    return address_of(args.collection, args.label_set)


def _fetched(args: argparse.Namespace, places: Places, address: Address) -> Reviewed:
    require_start(args.start, args.name, places)
    return fetch_reviewed(address, environment_key())


def _push_url(args: argparse.Namespace, address: Address | None) -> str | None:
    """Where to push to; None: nowhere."""
    url: str | None = args.push
    if url == "" and address is None:
        raise InvalidValue("--push needs the URL of a server, unless --collection names one")
    return address.url if url == "" and address is not None else url


def _interrupted(report: Reporter) -> int:
    report("interrupted: the same command continues")
    return INTERRUPTED


def _options(args: argparse.Namespace, reviewed: Reviewed | None) -> RefreshOptions:
    return RefreshOptions(
        sources=tuple(args.sources) if reviewed is None else (str(reviewed.folder),),
        name=args.name,
        start=args.start,
        pairs=PairsOptions(
            hold_out=args.hold_out,
            limit=args.limit,
            seed=args.seed,
            licence=args.pictures_licence,
            author=args.author,
            reading=reading_options(args),
        ),
        recipe=args.recipe,
        overrides=tuple(args.overrides),
        alpha=args.alpha,
        max_loss=args.max_loss,
        shipped_pictures=args.shipped_pictures,
        old_data=_old_data(args.data),
        half_weights=args.half_weights,
        licence=args.licence,
        device=args.device,
        again=args.again,
        only_look=args.look,
        reviewed=reviewed,
    )


def _require_name(name: str) -> None:
    """Raise InvalidValue for the name under which releases of diptych publish."""
    if name == SHIPPED_NAME:
        raise InvalidValue(
            f"--name {name}: releases of diptych publish their own versions of this name: choose another one"
        )


def _old_data(given: Path) -> Path:
    """The data set of --data. DataError if one is named that is not there; the default may be missing."""
    if given != data_dir():
        read_dataset(given)
    return given


def _points(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{number:g} is not from 0 to 100")
    return number


def _weight(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{number:g} is not above 0 and at most 1")
    return number
