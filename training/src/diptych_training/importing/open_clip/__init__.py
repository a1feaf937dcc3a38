"""Read checkpoints of open_clip and of OpenAI's CLIP from local files.

In: a folder with open_clip_config.json, or a file of weights. Out: an `ImportedModel`. Start with `load`;
`architecture` reads the configuration, `build` makes the model, `choose_text_processing` finds the tokenizer.
"""

from diptych_training.importing.open_clip.architecture import has_weights, is_open_clip
from diptych_training.importing.open_clip.load import load_open_clip

__all__ = ["has_weights", "is_open_clip", "load_open_clip"]
