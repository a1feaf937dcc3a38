"""Read open_clip's checkpoints and OpenAI's originals, local files only; knows nothing of hubs or graphs."""

from diptych_training.importing.open_clip.files import has_weights, is_open_clip
from diptych_training.importing.open_clip.load import load_open_clip

__all__ = ["has_weights", "is_open_clip", "load_open_clip"]
