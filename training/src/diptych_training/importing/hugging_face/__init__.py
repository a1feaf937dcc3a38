"""Read dual encoders of transformers (CLIP, SigLIP, MetaCLIP 2, Chinese-CLIP, AltCLIP, ALIGN) from a folder.

In: a local folder as `save_pretrained` writes it. Out: an `ImportedModel`. Start with `load`, which reads
configuration, image processor, tokenizer and weights in this order; `families` lists the supported models.
"""

from diptych_training.importing.hugging_face.families import is_dual_encoder
from diptych_training.importing.hugging_face.library import is_hugging_face
from diptych_training.importing.hugging_face.load import load_hugging_face

__all__ = ["is_dual_encoder", "is_hugging_face", "load_hugging_face"]
