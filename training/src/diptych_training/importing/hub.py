"""Fetch a checkpoint from a hub of models, only the files that are read; knows nothing of what is in them.

Files land in the hub library's own cache: what is there is not fetched again, what was broken off goes on.
"""

import os
import re
from pathlib import Path

from diptych_training.errors import ImportFailed

HUB_ID = re.compile(r"(?:hf-hub:)?(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
DESCRIPTIONS = ("*.json", "*.txt", "*.model", "README.md")  # configuration, tokenizers, model card
FOLDERS = "*/*"  # other formats and training states lie in folders
OPEN_CLIP_CONFIG = "open_clip_config.json"
# The second of each only where there is nothing of the first.
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
OPEN_CLIP_WEIGHTS = ("open_clip_*.safetensors", "open_clip_*.bin")


def fetch_checkpoint(
    hub_id: str,
    revision: str | None,
    *,
    offline: bool,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """The folder of a checkpoint: its descriptions, and its weights as safetensors where there are any.

    Raises ImportFailed saying what the hub answered.
    """
    hub = _Hub(hub_id, revision, offline, endpoint, cache)
    folder = hub.fetch(*DESCRIPTIONS)
    is_open_clip = (folder / OPEN_CLIP_CONFIG).is_file()
    patterns = (*OPEN_CLIP_WEIGHTS, *WEIGHTS) if is_open_clip else WEIGHTS
    for pattern in patterns:
        hub.fetch(*DESCRIPTIONS, pattern)
        if any(folder.glob(pattern)):
            return folder
    raise ImportFailed(f"{hub_id} has no weights: neither {' nor '.join(patterns)}")


def fetch_tokenizer(
    hub_id: str,
    revision: str | None,
    *,
    offline: bool,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """The folder of a tokenizer: descriptions only. Raises ImportFailed."""
    return _Hub(hub_id, revision, offline, endpoint, cache).fetch(*DESCRIPTIONS)


class _Hub:
    """One repository of a hub at one revision."""

    def __init__(
        self, hub_id: str, revision: str | None, offline: bool, endpoint: str | None, cache: Path | None
    ) -> None:
        self._hub_id, self._revision, self._offline = hub_id, revision, offline
        self._endpoint, self._cache = endpoint, cache

    def fetch(self, *patterns: str) -> Path:
        """Files that match, and are in no folder."""
        # Loaded here: it is part of an extra, and reads this variable when it is loaded.
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        from huggingface_hub import snapshot_download  # noqa: PLC0415
        from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

        try:
            folder = snapshot_download(
                self._hub_id,
                revision=self._revision,
                allow_patterns=list(patterns),
                ignore_patterns=FOLDERS,
                local_files_only=self._offline,
                endpoint=self._endpoint,
                cache_dir=self._cache,
            )
        except (HFValidationError, OSError) as error:
            raise ImportFailed(f"{self._named()} cannot be had: {self._reason(error)}") from error
        return Path(folder)

    def _reason(self, error: Exception) -> str:
        """In our words: the library's own speak of its parameters."""
        from huggingface_hub import constants, errors  # noqa: PLC0415

        silent = "the hub does not answer (is there a network?)"
        if self._offline or constants.HF_HUB_OFFLINE:
            silent = f"{'--offline' if self._offline else 'HF_HUB_OFFLINE'} asks no hub"
        words: dict[type[Exception], str] = {  # a subclass stands before its parent
            errors.GatedRepoError: "the hub gives it only to who accepted its terms and ran `hf auth login`",
            errors.RepositoryNotFoundError: "the hub has no such model, or it is private: `hf auth login`",
            errors.RevisionNotFoundError: f"the hub's model has no revision {self._revision}",
            errors.LocalEntryNotFoundError: f"{silent}, and it is not in the local cache",
        }
        known = (said for kind, said in words.items() if isinstance(error, kind))
        return next(known, str(error).strip().splitlines()[0])

    def _named(self) -> str:
        return f"{self._hub_id}@{self._revision}" if self._revision else self._hub_id
