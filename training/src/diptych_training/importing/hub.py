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
    patterns = OPEN_CLIP_WEIGHTS if (folder / OPEN_CLIP_CONFIG).is_file() else WEIGHTS
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
            where = "in the local cache (--offline)" if self._offline else "on the hub"
            reason = str(error).strip().splitlines()[0]
            raise ImportFailed(f"{self._named()} cannot be had {where}: {reason}") from error
        return Path(folder)

    def _named(self) -> str:
        return f"{self._hub_id}@{self._revision}" if self._revision else self._hub_id
