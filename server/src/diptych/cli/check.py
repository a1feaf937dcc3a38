"""`diptych check`: prove the bundles of a model repository on this machine, without a server."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diptych.bundle.repository import ModelRepository
from diptych.cli.console import err, out
from diptych.errors import DiptychError, InvalidValue
from diptych.settings import PREFIX, Settings, read_settings

SubParsers = Any  # argparse keeps the class of add_subparsers() private


def add_parser(subparsers: SubParsers) -> None:
    """`diptych check [NAME[/VERSION] ...] [--model-repo DIR]`."""
    parser = subparsers.add_parser(
        "check",
        help="verify the bundles of a model repository",
        description="Verify every file of each bundle, load it, and reproduce its reference outputs.",
    )
    parser.add_argument("models", nargs="*", metavar="NAME[/VERSION]", help="all when none is given")
    parser.add_argument("--model-repo", metavar="DIR", help=f"folder of bundles ({PREFIX}MODEL_REPO)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 when every bundle is sound in every precision, 1 when one is not."""
    given = {} if args.model_repo is None else {"model_repo": Path(args.model_repo)}
    settings = read_settings(given)
    repository = ModelRepository(settings.model_repo)
    sound = [
        _check(repository, settings, name, version) for name, version in _chosen(repository, args.models)
    ]
    if not sound:
        err(f"there is no bundle in {settings.model_repo.absolute()}")
    return 0 if sound and all(sound) else 1


def _chosen(repository: ModelRepository, models: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The versions that were named; of a bare name, or when nothing was named, all. Raises NotFound."""
    for model in models or repository.names():
        name, _, version = model.partition("/")
        if version and not version.isdecimal():
            raise InvalidValue(f"{model!r} is not of the form NAME/VERSION")
        for number in [int(version)] if version else repository.versions(name):
            yield name, number


def _check(repository: ModelRepository, settings: Settings, name: str, version: int) -> bool:
    # Only this command and serve need the model's runtime: the others must start without waiting for it.
    from diptych.wiring import load_bundle  # noqa: PLC0415

    try:
        precisions = list(repository.verify(name, version).precisions)
        for precision in precisions:
            load_bundle(
                repository,
                name,
                version,
                precision=precision,
                device=settings.device,
                n_threads=settings.n_threads,
            )
    except DiptychError as error:
        out(f"{name}/{version}  FAILED  {error}")
        return False
    out(f"{name}/{version}  sound   {', '.join(precisions)}")
    return True
