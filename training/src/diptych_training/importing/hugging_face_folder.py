"""Write a model as a folder that transformers loads and `diptych-train import` reads.

transformers states less than a bundle: where it has no equal, the nearest setting is written, and the
difference is stated in the folder's README.md. Needs no other library.
"""

import json
import shutil
from pathlib import Path
from string import punctuation
from typing import Any

from PIL import Image
from tokenizers import Regex, Tokenizer, normalizers

from diptych.bundle.manifest import ImageSpec, TextSpec
from diptych_training.checkpoint import write_atomic, write_tensors
from diptych_training.errors import CheckpointError
from diptych_training.export.model_card.licence import UNKNOWN
from diptych_training.importing.source_model import SourceModel
from diptych_training.importing.weight_names import to_layout
from diptych_training.importing.weight_names.hugging_face import library_config
from diptych_training.models import ModelConfig

ANY_PUNCTUATION = "".join(f"\\{character}" for character in punctuation)  # inside of a regex's brackets
README = """{front}# {title}

Written by `diptych-train weights` from {title}. `{kind}.from_pretrained` of transformers loads it, and
`diptych-train import` publishes it.

## Differences from the model as it was trained

{differences}
"""


def write_hugging_face_folder(model: SourceModel, folder: Path) -> list[str]:
    """Write `folder`, which appears complete or not at all; return the differences, a sentence each.

    Raises CheckpointError if the folder exists with content, or for a tokenizer that transformers cannot
    express; TrainingConfigError naming a part of the architecture that transformers does not have.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise CheckpointError(f"--out {folder} exists already: name a new folder")
    config = ModelConfig.model_validate(model.tables["model"])
    image = ImageSpec.model_validate(model.tables["preprocess"])
    text = TextSpec.model_validate(model.tables["text"])
    tokens = _special_tokens(model.tokenizer, text)
    vocabulary = model.tokenizer.get_vocab(with_added_tokens=True)
    described = library_config(config, {f"{name}_id": vocabulary[token] for name, token in tokens.items()})
    differences = [*_image_differences(image), *_text_differences(text)]
    files = {
        "config.json": _json(described),
        "preprocessor_config.json": _json(_processor_config(image)),
        "tokenizer.json": _with_cleaning(model.tokenizer, text).to_str(pretty=True).encode(),
        "tokenizer_config.json": _json(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": text.context_length,
                "padding_side": "right",
                "truncation_side": "right",
                "model_input_names": ["input_ids"],
                "clean_up_tokenization_spaces": False,
                **tokens,
            }
        ),
        "README.md": _readme(model, described["architectures"][0], differences).encode(),
    }
    moved = to_layout(model.weights(config), config, "hugging_face")
    tensors = {name: tensor.contiguous() for name, tensor in moved.items()}
    staged = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    for name, content in files.items():
        write_atomic(staged / name, content)
    write_tensors(staged / "model.safetensors", tensors, {"format": "pt"})  # transformers requires this
    staged.rename(folder)
    return differences


def _processor_config(image: ImageSpec) -> dict[str, Any]:
    edge = image.resize or image.size
    crops = image.resize_mode == "shortest" or edge != image.size
    size = {"shortest_edge": edge} if image.resize_mode == "shortest" else {"height": edge, "width": edge}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": size,
        "resample": int(Image.Resampling[image.interpolation.upper()]),
        "do_center_crop": crops,
        "crop_size": {"height": image.size, "width": image.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(image.mean),
        "image_std": list(image.std),
    }


def _special_tokens(tokenizer: Tokenizer, text: TextSpec) -> dict[str, str]:
    """The tokens around every text, and the one that pads.

    Behind a causal mask the end-of-text token pads, as in OpenAI's models: nothing sees it.
    """
    placed = tokenizer.encode("").tokens
    if not placed:
        raise CheckpointError("the tokenizer adds no end token, which transformers' models need")
    pads = text.pad_to == "context_length"
    pad = tokenizer.id_to_token(text.pad_id) if pads else placed[-1]
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    if pad is None or pad not in {*special, *placed}:
        raise CheckpointError(
            f"text.pad_id is {text.pad_id}, token {pad!r}, which a text may contain: transformers would read "
            "it as padding there"
        )
    first = {"bos_token": placed[0]} if len(placed) > 1 else {}
    return {**first, "eos_token": placed[-1], "pad_token": pad}


def _with_cleaning(tokenizer: Tokenizer, text: TextSpec) -> Tokenizer:
    """A copy whose normaliser also cleans texts, as far as `tokenizers` can."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    steps: list[normalizers.Normalizer] = []
    if text.clean == "canonical":
        steps += [normalizers.Replace("_", " "), normalizers.Replace(Regex(f"[{ANY_PUNCTUATION}]"), "")]
    if text.clean != "none":
        steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    if text.clean in {"clip", "canonical"}:
        steps.append(normalizers.Lowercase())
    if copy.normalizer is not None:
        steps.append(copy.normalizer)
    if steps:
        copy.normalizer = normalizers.Sequence(steps)
    return copy


def _image_differences(image: ImageSpec) -> list[str]:
    found = []
    if image.resize_mode == "longest":
        found.append(
            f"Images that are not square are squashed to {image.size} x {image.size} pixels. The model was "
            f"trained on the whole image, the rest filled with the colour {image.fill_color}, which no "
            "image processor of transformers does."
        )
    elif image.crop == "round" and (image.resize_mode == "shortest" or image.resize is not None):
        found.append(
            "The crop of an image may lie one pixel away from the one that the model was trained on."
        )
    if image.alpha == "drop":
        found.append(
            "Transparent pixels are laid over white. The model was trained on the colours under them."
        )
    return found


def _text_differences(text: TextSpec) -> list[str]:
    found = ["Special tokens that are spelled out in a text are read as such, and not as text."]
    if text.clean != "none":
        found.append("Broken encodings and HTML entities in texts are not repaired.")
    if len(text.prompts) > 1 or text.prompts["default"] != ["{}"]:
        found.append(f"The prompts are not part of the folder: {', '.join(text.prompts)}.")
    return found


def _readme(model: SourceModel, kind: str, differences: list[str]) -> str:
    licence = "" if model.licence == UNKNOWN else f"license: {json.dumps(model.licence)}\n"
    return README.format(
        front=f"---\nlibrary_name: transformers\n{licence}---\n\n",
        title=model.title,
        kind=kind,
        differences="\n".join(f"- {sentence}" for sentence in differences),
    )


def _json(content: dict[str, Any]) -> bytes:
    return f"{json.dumps(content, indent=2)}\n".encode()
