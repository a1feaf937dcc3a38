"""`diptych check`: verify the bundles of a model repository, or a data folder, without a server."""

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.bundle.repository import ModelRepository
from diptych.cli.commands.backup import show
from diptych.cli.output.console import err, out
from diptych.cli.output.precisions import candidate_line, device_line, parity_line, tensorrt_line
from diptych.cli.output.progress import ProgressBars
from diptych.cli.process.variables import misspelt_setting
from diptych.core.tuning.precision import CUDA_PROVIDER, Choice, DeviceChoice, unfit
from diptych.errors import DiptychError
from diptych.settings import PREFIX, Settings, read_settings
from diptych.wiring.data_folders import check_data_folder

if TYPE_CHECKING:
    from diptych.wiring.precisions.trials import Trials

_MODEL = re.compile(r"[^/]+(/[0-9]+)?")
SubParsers = Any  # argparse keeps the class of add_subparsers() private


def add_parser(subparsers: SubParsers) -> None:
    """Declare `diptych check [NAME[/VERSION] ...] [--model-repo DIR] [--tensorrt]`, and with `--data-dir`."""
    parser = subparsers.add_parser(
        "check",
        help="verify the bundles of a model repository, or a data folder",
        description="Verify every file of each bundle, load the bundle in every precision, reproduce its "
        "reference outputs, and print which precision would be served here. With --data-dir: compare every "
        "row, vector and image file of a data folder, in use or not, with its checksum instead, and the "
        "index of words with the rows, and name those that differ. Exit code 1 when something is damaged.",
    )
    parser.add_argument(
        "models", nargs="*", metavar="NAME[/VERSION]", help="models to check; all when none is given"
    )
    parser.add_argument("--model-repo", metavar="DIR", help=f"folder of bundles ({PREFIX}MODEL_REPO)")
    parser.add_argument(
        "--tensorrt",
        action="store_true",
        help="also build TensorRT engines for the GPU of this machine, prove them, and keep them in the "
        f"cache folder ({PREFIX}CACHE_DIR) for `diptych serve --tensorrt auto`; takes minutes",
    )
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="check this data folder instead of bundles"
    )
    parser.set_defaults(run=run, usage_error=parser.error)


def run(args: argparse.Namespace) -> int:
    """Return 0 if every bundle is sound in every precision, or the data folder is sound; otherwise 1."""
    if complaint := misspelt_setting(os.environ):
        args.usage_error(complaint)
    if args.data_dir is not None:
        if args.models or args.model_repo is not None or args.tensorrt:
            args.usage_error("--data-dir checks no bundles: leave out models, --model-repo and --tensorrt")
        return _check_data(args.data_dir)
    given = {} if args.model_repo is None else {"model_repo": Path(args.model_repo)}
    for model in args.models:
        if not _MODEL.fullmatch(model):
            args.usage_error(f"{model!r} is not of the form NAME or NAME/VERSION")
    settings = read_settings(given)
    repository = ModelRepository(settings.model_repo)
    sound = [
        _check(repository, settings, name, version, tensorrt=args.tensorrt)
        for name, version in _chosen(repository, args.models)
    ]
    if not sound:
        err(f"no bundle in {settings.model_repo.absolute()}")
    return 0 if sound and all(sound) else 1


def _check_data(data_dir: Path) -> int:
    """Return 0 if the data is sound. Raises CorruptStore when the structure of the database is damaged."""
    with ProgressBars(hidden=False) as progress:
        done = check_data_folder(data_dir, progress)
    return show(done, f"{data_dir}: {'sound' if done.is_whole else 'damaged'}", as_json=False)


def _chosen(repository: ModelRepository, models: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield the named versions: all versions of a bare name, and all models if none is named.

    Raises NotFound.
    """
    for model in models or repository.names():
        name, _, version = model.partition("/")
        for number in [int(version)] if version else repository.versions(name):
            yield name, number


def _check(
    repository: ModelRepository, settings: Settings, name: str, version: int, *, tensorrt: bool
) -> bool:
    # Only this command and serve need the model runtime. The others start without loading it.
    from diptych.wiring.loading.bundles import verify_bundle  # noqa: PLC0415
    from diptych.wiring.loading.version_choice import MachineSupport  # noqa: PLC0415
    from diptych.wiring.precisions.trials import Trials  # noqa: PLC0415

    try:
        repository.manifest(name, version)  # it must have the name and number of its folder
        bundle = verify_bundle(repository.folder(name, version))
        ignored = MachineSupport(allow_ungated=True).why_not_served(bundle.manifest)
    except DiptychError as error:
        return _failed(name, version, error)
    if ignored is not None:
        out(f"{name}/{version}  files are sound, ignored here: {ignored}")
        return True
    trials = Trials(bundle, device=settings.device, n_threads=settings.n_threads)
    cpu_trials = Trials(bundle, device="cpu", n_threads=settings.n_threads)
    try:
        return _try(trials, cpu_trials, settings) and (not tensorrt or _build_engines(trials, settings))
    finally:  # frees the memory for the next version
        for one in (trials, cpu_trials):
            one.close()


def _try(trials: "Trials", cpu_trials: "Trials", settings: Settings) -> bool:
    from diptych.wiring.loading.version_choice import UNGATED  # noqa: PLC0415
    from diptych.wiring.precisions.chosen import choose_precision  # noqa: PLC0415

    manifest = trials.bundle.manifest
    graphs = [name for name in trials.precisions if name in manifest.precisions]
    try:
        for precision in graphs:  # including those that this machine would not serve
            is_for_cpu = unfit(precision, CUDA_PROVIDER) is not None
            (cpu_trials if trials.on_gpu and is_for_cpu else trials).load(precision)
    except DiptychError as error:
        return _failed(manifest.name, manifest.version, error)
    out(f"{manifest.name}/{manifest.version}  sound   {', '.join(graphs)}")
    if manifest.ungated and not settings.allow_ungated:
        out(f"  not served: {UNGATED}")
    try:
        _show_device(trials.device)
        choice = choose_precision(trials)
        _show(choice)
        _show_measured_parity(trials, choice)
    except DiptychError as error:  # the bundle is sound, but for another device
        out(f"  {error}")
    return True


def _build_engines(trials: "Trials", settings: Settings) -> bool:
    """Return whether all precisions that are for a GPU have engines now."""
    from diptych.wiring.precisions.tensorrt import build_engines, reason_of  # noqa: PLC0415

    if not trials.on_gpu:
        out(f"  no TensorRT engines: {trials.device.reason}")
        return False
    is_whole = True
    for precision in trials.precisions:
        if unfit(precision, CUDA_PROVIDER) is not None:
            continue
        try:
            out(tensorrt_line(precision, "ready", build_engines(trials.load(precision), settings)))
        except DiptychError as error:
            out(tensorrt_line(precision, "unavailable", reason_of(error)))
            is_whole = False
    return is_whole


def _failed(name: str, version: int, error: DiptychError) -> bool:
    out(f"{name}/{version}  FAILED  {error}")
    return False


def _show_device(device: DeviceChoice) -> None:
    out(f"  {device_line(**vars(device))}")


def _show_measured_parity(trials: "Trials", choice: Choice) -> None:
    """Print the parity of each precision that passed and that the manifest has none of."""
    for name in (one.precision for one in choice.candidates if one.passed):
        if (parity := trials.load(name).parity) is not None:
            out(parity_line(name, **vars(parity)))


def _show(choice: Choice) -> None:
    out(f"  auto is {choice.precision}: {choice.reason}")
    for candidate in choice.candidates:
        out(candidate_line(**vars(candidate)))
