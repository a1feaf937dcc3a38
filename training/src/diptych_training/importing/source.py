"""Find a checkpoint and the reader for its format.

| SOURCE | read by |
|---|---|
| name or folder of a run of `diptych-train train` | `own.load_own_run` |
| version folder of a model repository that holds its weights | `own.load_own_bundle` |
| folder with open_clip_config.json, or a file of weights | `open_clip` |
| folder with config.json of a dual encoder of transformers | `hugging_face` |
| `owner/name` or `owner/name@revision` | downloaded from the hub, then one of the last two |
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from diptych_training.errors import ImportFailed
from diptych_training.evaluate.proof_set.file import proof_set_file
from diptych_training.export.model_card.card import DATA_CARD_FILE
from diptych_training.importing.common.folder_files import require_tokenizer
from diptych_training.importing.common.imported_model import Choices, ImportedModel
from diptych_training.importing.hub import HUB_ID, fetch_checkpoint, fetch_tokenizer
from diptych_training.importing.own import is_own_bundle, is_own_run, load_own_bundle, load_own_run
from diptych_training.paths import run_dir, runs_dir

Read = Callable[[Path, Choices], ImportedModel]
PACKAGES = (  # of the extra `import`
    "open_clip",
    "transformers",
    "timm",
    "torchvision",
    "huggingface_hub",
    "sentencepiece",
    "yaml",
)
LOOKED_FOR = (
    "open_clip_config.json, config.json of a model of transformers, a run's model.json and preprocess.json, "
    "a bundle's manifest.json, or a file of weights (.safetensors, .pt, .bin)"
)


class Fetch(Protocol):
    """Downloads from a hub: an id and a revision -> a local folder."""

    def __call__(self, hub_id: str, revision: str | None, *, offline: bool) -> Path:
        """Raises ImportFailed if it cannot be downloaded."""
        ...


@dataclass(frozen=True)
class Source:
    """A checkpoint on disk and its reader; `origin` goes into the manifest, `choices` hold local paths.

    `data_card` and `proof_set` are files of a bundle or run that has them.
    """

    path: Path
    read: Read
    choices: Choices
    origin: dict[str, str]
    data_card: Path | None = None
    proof_set: Path | None = None

    def load(self) -> ImportedModel:
        """Read the checkpoint. Raises ImportFailed."""
        imported = self.read(self.path, self.choices)
        return replace(imported, source={**imported.source, **self.origin})


def find_source(
    given: str, choices: Choices, *, fetch: Fetch = fetch_checkpoint, fetch_tokenizer: Fetch = fetch_tokenizer
) -> Source:
    """Find the checkpoint that `given` names. Raises ImportFailed listing what was looked for."""
    path = _local_path(given)
    choices = _with_local_tokenizer(choices, fetch_tokenizer)
    if path.is_file():
        return Source(path, _foreign_reader(path), choices, {})
    if path.is_dir():
        return _find_in_folder(path, choices, {})
    match = _hub_id(given)
    _require_packages()
    folder = _fetch(given, match, choices, fetch)
    # The folder of a hub snapshot is named after its commit.
    return _find_in_folder(folder, choices, {"hub": match["id"], "revision": folder.name})


def require_importable(given: str, choices: Choices) -> None:
    """Check, before any work and without a hub, what `find_source` and `load` need.

    Raises ImportFailed unless `given` is a local path, a run or a hub id, the packages that read it are
    installed, and its tokenizer is there or chosen.
    """
    path = _local_path(given)
    if is_own_run(path) or is_own_bundle(path):
        return
    if not path.exists():
        _hub_id(given)
    _require_packages()
    if choices.tokenizer is not None:
        _tokenizer_id(choices.tokenizer)
    elif path.is_dir():
        require_tokenizer(path)


def _local_path(given: str) -> Path:
    path = Path(given).expanduser()
    return path if path.exists() else run_dir(given, runs_dir())


def _hub_id(given: str) -> re.Match[str]:
    match = HUB_ID.fullmatch(given)
    if match is None:
        raise ImportFailed(
            f"{given!r} is not a local file, folder or run, nor a hub id such as owner/name@revision"
        )
    return match


def _fetch(given: str, match: re.Match[str], choices: Choices, fetch: Fetch) -> Path:
    try:
        return fetch(match["id"], match["revision"], offline=choices.offline)
    except ImportFailed as error:
        raise ImportFailed(f"there is no local file or folder {given}; as a hub id: {error}") from error


def _find_in_folder(folder: Path, choices: Choices, origin: dict[str, str]) -> Source:
    if is_own_run(folder):
        return Source(folder, load_own_run, choices, {}, proof_set=proof_set_file(folder))
    if is_own_bundle(folder):
        card = folder / DATA_CARD_FILE
        data_card = card if card.is_file() else None
        return Source(folder, load_own_bundle, choices, {}, data_card, proof_set_file(folder))
    return Source(folder, _foreign_reader(folder), choices, origin)


def _foreign_reader(path: Path) -> Read:
    """The reader for a file or folder of another library.

    open_clip comes first, since its hub repositories often also hold a conversion to transformers; except
    where a complete checkpoint of transformers has only open_clip's configuration next to it.
    """
    _require_packages()
    # Imported here: the readers need an extra, and importing them takes seconds.
    from diptych_training.importing import hugging_face, open_clip  # noqa: PLC0415

    if open_clip.is_open_clip(path) and not (
        path.is_dir() and hugging_face.is_dual_encoder(path) and not open_clip.has_weights(path)
    ):
        return open_clip.load_open_clip
    if path.is_dir() and hugging_face.is_hugging_face(path):
        return hugging_face.load_hugging_face
    raise ImportFailed(f"{path} is not a supported checkpoint: looked for {LOOKED_FOR}")


def _tokenizer_id(given: str) -> re.Match[str] | None:
    """The hub id of --tokenizer; None for a local file or folder. Raises ImportFailed if it is neither."""
    match = None if Path(given).exists() else HUB_ID.fullmatch(given)
    if match is None and not Path(given).exists():
        raise ImportFailed(f"--tokenizer {given}: not a local file or folder, nor a hub id")
    return match


def _with_local_tokenizer(choices: Choices, fetch: Fetch) -> Choices:
    match = None if choices.tokenizer is None else _tokenizer_id(choices.tokenizer)
    if match is None:
        return choices
    _require_packages()
    return replace(choices, tokenizer=str(fetch(match["id"], match["revision"], offline=choices.offline)))


def _require_packages() -> None:
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise ImportFailed(
            f"importing needs {', '.join(missing)}: `make import SOURCE=... NAME=...` installs them, or "
            "pip install 'diptych-training[import]'"
        )
