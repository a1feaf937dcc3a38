"""Read the dual encoders that transformers loads, from a local folder; knows nothing of hubs or graphs."""

from diptych_training.importing.hugging_face.families import is_dual_encoder
from diptych_training.importing.hugging_face.folder import is_hugging_face
from diptych_training.importing.hugging_face.load import load_hugging_face

__all__ = ["is_dual_encoder", "is_hugging_face", "load_hugging_face"]
