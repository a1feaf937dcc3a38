"""Names for objects of transformers whose attributes appear at run time, which no type checker can follow."""

from typing import Any, TypeAlias

DualEncoder: TypeAlias = Any  # a `PreTrainedModel` with both towers and their two `get_..._features`
ImageProcessor: TypeAlias = Any  # a `PilBackend`: each setting is an attribute
ModelConfig: TypeAlias = Any  # a `PreTrainedConfig`: each key is an attribute
LibraryTokenizer: TypeAlias = Any  # a `PreTrainedTokenizerBase`
