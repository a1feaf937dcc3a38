"""Choose the data that an export is proven and calibrated on, and the proof set that its bundle carries."""

import re
from dataclasses import dataclass
from pathlib import Path

from diptych.bundle.repository import ModelRepository
from diptych.errors import NotFound
from diptych_training.checkpoint import TrainedRun
from diptych_training.data.packed import INDEX_FILE, PackedDataset, read_dataset
from diptych_training.evaluate.proof_set.draw import draw_proof_set, why_not_drawn
from diptych_training.evaluate.proof_set.file import (
    PROOF_SET_FILE,
    default_proof_set_file,
    proof_set_file,
    proof_set_to_evaluate,
    read_proof_set,
    read_proof_set_file,
    write_proof_set,
)
from diptych_training.evaluate.proof_set.photographs import require_photographs, with_photographs
from diptych_training.evaluate.proof_set.samples import shortage
from diptych_training.models import ImageConfig, PhotographsAndDrawingsConfig
from diptych_training.paths import data_dir
from diptych_training.run_folder import RunFolder

VERSION = re.compile(r"([^/]+)/([0-9]+)")  # title of a version that a run started from


@dataclass(frozen=True)
class ProofData:
    """`dataset` proves an export, `calibration` has the training images for int8 and graph rewrites.

    `proof_set` is the file that goes into the bundle, if there is any.
    """

    dataset: PackedDataset
    calibration: PackedDataset
    proof_set: Path | None


def choose_proof_data(
    run: TrainedRun, given: Path | None, repository: ModelRepository, scratch: Path
) -> ProofData:
    """The data set `given`; else the proof set of the model that the run started from; else the default data
    set; else, or if that is too small for a proof, the default model's proof set.

    The bundle carries the proof set of the model that the run started from, byte for byte; else one drawn
    from a data set of openly licensed drawings; else the default model's. A model that knows photographs is
    proven on such a drawn set with photographs added. Unpacked and drawn sets go to `scratch`. Raises
    DataError for a data set or proof set that is missing or damaged.
    """
    inherited = inherited_proof_set_file(run, repository)
    proven_on = None if given is not None else inherited
    if given is None and inherited is None and not _is_enough(data_dir()):
        proven_on = default_proof_set_file(repository)
    if proven_on is not None:
        proof_set = read_proof_set_file(proven_on)
        dataset = proof_set.unpack(scratch / "proof", run.image_spec.size)
        return ProofData(dataset, _calibration(run, dataset, repository, scratch), proven_on)
    dataset = read_dataset(given or data_dir())
    if inherited is None and isinstance(run.model_config.image, PhotographsAndDrawingsConfig):
        drawn = _with_photographs(dataset, run, scratch)
        if drawn is not None:
            unpacked = read_proof_set_file(drawn).unpack(scratch / "proof", run.image_spec.size)
            return ProofData(unpacked, unpacked, drawn)
    carried = inherited or _drawn(dataset, scratch) or default_proof_set_file(repository)
    return ProofData(dataset, dataset, carried)


def require_drawable(image: ImageConfig, dataset: PackedDataset) -> None:
    """Raise DataError if photographs are missing of which the proof set of a new run would be made.

    For a run whose start brings no proof set, before it is trained for hours.
    """
    if isinstance(image, PhotographsAndDrawingsConfig) and why_not_drawn(dataset) is None:
        require_photographs()


def inherited_proof_set_file(run: TrainedRun, repository: ModelRepository) -> Path | None:
    """The proof set of the model that the run started from: the run's copy, or else the version's own.

    A run that took an image tower only (`start_image`) is another model, and inherits none.
    """
    own = RunFolder(run.folder).proof_set_file
    if own.is_file():
        return own
    if run.provenance is None or run.config.start_image is not None:
        return None
    titles = run.provenance.started_from
    for match in filter(None, map(VERSION.fullmatch, titles)):
        try:
            file = proof_set_file(repository.folder(match[1], int(match[2])))
        except NotFound:
            continue
        if file is not None:
            return file
    return None


def proof_data_of_version(folder: Path, given: Path | None, size: int, scratch: Path) -> PackedDataset:
    """The data set that further files of a version are proven on.

    It is the one `given`; else the version's own proof set, unpacked in `scratch`; else the default data set.
    """
    proof_set = read_proof_set(folder) if given is None else None
    return (
        read_dataset(given or data_dir()) if proof_set is None else proof_set.unpack(scratch / "proof", size)
    )


def _is_enough(folder: Path) -> bool:
    """Whether there is a data set in this folder that an export can be proven on."""
    return (folder / INDEX_FILE).is_file() and shortage(read_dataset(folder)) is None


def _calibration(
    run: TrainedRun, dataset: PackedDataset, repository: ModelRepository, scratch: Path
) -> PackedDataset:
    """The proof set; for those of imports, without training images: the run's own data set, or else the
    default model's proof set.
    """
    if dataset.listed("train"):
        return dataset
    own = None if run.provenance is None else run.provenance.own.path
    if own is not None and (own / INDEX_FILE).is_file() and read_dataset(own).listed("train"):
        return read_dataset(own)
    default = proof_set_to_evaluate(repository, run.folder)
    return dataset if default is None else default.unpack(scratch / "calibration", run.image_spec.size)


def _with_photographs(dataset: PackedDataset, run: TrainedRun, scratch: Path) -> Path | None:
    """A proof set of drawings from the data set, and photographs: both halves of the model have to be proven.

    None if the data set is not one of openly licensed drawings.
    """
    if why_not_drawn(dataset) is not None or run.image_spec.size % dataset.image_size:
        return None
    file = scratch / PROOF_SET_FILE
    write_proof_set(file, with_photographs(draw_proof_set(dataset), run.image_spec))
    return file


def _drawn(dataset: PackedDataset, scratch: Path) -> Path | None:
    """A proof set drawn from the data set; None if that is not one of openly licensed drawings."""
    if why_not_drawn(dataset) is not None:
        return None
    file = scratch / PROOF_SET_FILE
    write_proof_set(file, draw_proof_set(dataset))
    return file
