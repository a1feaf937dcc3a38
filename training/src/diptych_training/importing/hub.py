"""Download a checkpoint from the Hugging Face hub: only the files that are needed.

Files go to the hub library's cache: complete files are not downloaded again, interrupted ones are resumed.
"""

import os
import re
from pathlib import Path

from diptych_training.errors import ImportFailed

HUB_ID = re.compile(r"(?:hf-hub:)?(?P<id>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
DESCRIPTIONS = ("*.json", "*.txt", "*.model", "README.md")  # configuration, tokenizers, model card
FOLDERS = "*/*"  # other formats and training states are in subfolders
OPEN_CLIP_CONFIG = "open_clip_config.json"
# In order of preference: a later pattern is tried only if an earlier one matches no file.
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
    """Download a checkpoint's descriptions and weights, preferably as safetensors; return the folder.

    Raises ImportFailed with the hub's reason.
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
    """Download a tokenizer's files, without weights; return the folder. Raises ImportFailed."""
    return _Hub(hub_id, revision, offline, endpoint, cache).fetch(*DESCRIPTIONS)


class _Hub:
    """One repository of the hub at one revision."""

    def __init__(
        self, hub_id: str, revision: str | None, offline: bool, endpoint: str | None, cache: Path | None
    ) -> None:
        self._hub_id, self._revision, self._offline = hub_id, revision, offline
        self._endpoint, self._cache = endpoint, cache

    def fetch(self, *patterns: str) -> Path:
        """Download the top-level files that match; return the folder."""
        # Imported here: huggingface_hub is part of an extra, and reads this variable when it is imported.
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
            raise ImportFailed(f"{self._title()} cannot be downloaded: {self._reason(error)}") from error
        return Path(folder)

    def _reason(self, error: Exception) -> str:
        """Reason in terms of the command's flags; the library's own messages name its parameters."""
        from huggingface_hub import constants, errors  # noqa: PLC0415

        no_answer = "the hub does not answer (is there a network?)"
        if self._offline or constants.HF_HUB_OFFLINE:
            no_answer = f"{'--offline' if self._offline else 'HF_HUB_OFFLINE'} forbids asking the hub"
        words: dict[type[Exception], str] = {  # a subclass comes before its parent
            errors.GatedRepoError: "the hub requires you to accept its terms and to run `hf auth login`",
            errors.RepositoryNotFoundError: "the hub has no such model, or it is private: `hf auth login`",
            errors.RevisionNotFoundError: f"the hub's model has no revision {self._revision}",
            errors.LocalEntryNotFoundError: f"{no_answer}, and it is not in the local cache",
        }
        known = (said for kind, said in words.items() if isinstance(error, kind))
        return next(known, str(error).strip().splitlines()[0])

    def _title(self) -> str:
        return f"{self._hub_id}@{self._revision}" if self._revision else self._hub_id
