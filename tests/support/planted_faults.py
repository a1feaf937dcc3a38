"""Mistakes that importers of CLIP-like models make, planted into a model that was imported rightly.

Each takes an imported model of its own and gives it back faulty; nothing here measures anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diptych_training.importing.common.imported_model import ImportedModel

Plant = Callable[[ImportedModel], ImportedModel]
Library = Literal["clip", "siglip", "open_clip", "roberta"]


@dataclass(frozen=True)
class Fault:
    """`of`: the checkpoint it is planted into. `graph`: which file comes out different, if one does."""

    of: Library
    plant: Plant
    graph: Literal["image", "text"] | None


class BlueFirst(nn.Module):
    """Takes red for blue."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def encode_image(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.model.encode_image(pixels.flip(1))
        return features

    def encode_text(self, input_ids: Tensor) -> Tensor:
        features: Tensor = self.model.encode_text(input_ids)
        return features


class LastMaximum(nn.Module):
    """Takes a text's feature at the last of its largest ids: of the end-of-text ids that pad it."""

    def __init__(self, towers: Any) -> None:
        super().__init__()
        self.towers = towers

    def encode_image(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.towers.encode_image(pixels)
        return features

    def encode_text(self, input_ids: Tensor) -> Tensor:
        clip = self.towers.model
        hidden = clip.text_model(input_ids=input_ids).last_hidden_state  # (B, L, width)
        last = input_ids.shape[1] - 1 - input_ids.flip(1).argmax(dim=1)
        features: Tensor = clip.text_projection(hidden[torch.arange(hidden.shape[0]), last])
        return features


class FirstToken(nn.Module):
    """A pooler that takes the first token."""

    def forward(self, output: Any, mask: Tensor) -> Tensor:
        first: Tensor = output.last_hidden_state[:, 0]
        return first


class PaddingSeen(nn.Module):
    """A text tower of transformers that is given no attention mask."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.transformer(input_ids=input_ids, attention_mask=torch.ones_like(attention_mask))


def _gelu_in(tower: str) -> Plant:
    def plant(imported: ImportedModel) -> ImportedModel:
        for layer in getattr(_clip(imported), tower).encoder.layers:
            layer.mlp.activation_fn = nn.GELU()
        return imported

    return plant


def _no_projection(imported: ImportedModel) -> ImportedModel:
    _clip(imported).visual_projection = nn.Identity()
    return imported


def _transposed_projection(imported: ImportedModel) -> ImportedModel:
    weight = _clip(imported).text_projection.weight
    weight.data = weight.data.t().contiguous()
    return imported


def _mean_of_patches(imported: ImportedModel) -> ImportedModel:
    _module(imported).visual.pool_type = "avg"
    return imported


def _last_position(imported: ImportedModel) -> ImportedModel:
    _module(imported).text.pool_type = "last"
    return imported


def _first_token(imported: ImportedModel) -> ImportedModel:
    _module(imported).text.pooler = FirstToken()
    return imported


def _padding_seen(imported: ImportedModel) -> ImportedModel:
    text = _module(imported).text
    text.transformer = PaddingSeen(text.transformer)
    return imported


def _image(**changes: Any) -> Plant:
    return lambda imported: replace(imported, image=imported.image.model_copy(update=changes))


def _red_and_blue_of(name: str) -> Plant:
    def plant(imported: ImportedModel) -> ImportedModel:
        values = getattr(imported.image, name)
        return _image(**{name: tuple(reversed(values))})(imported)

    return plant


def _wrapped_in(wrapper: Callable[[Any], nn.Module]) -> Plant:
    return lambda imported: replace(imported, model=wrapper(imported.model).eval())


def _not_filled_up(imported: ImportedModel) -> ImportedModel:
    return replace(imported, text=imported.text.model_copy(update={"pad_to": "longest"}))


def _module(imported: ImportedModel) -> Any:
    return imported.model


def _clip(imported: ImportedModel) -> Any:
    """The library's own model inside the importer's towers."""
    return _module(imported).model


FAULTS: dict[str, Fault] = {
    "GELU for QuickGELU, image": Fault("clip", _gelu_in("vision_model"), "image"),
    "GELU for QuickGELU, text": Fault("clip", _gelu_in("text_model"), "text"),
    "mean of the patches for the class token": Fault("open_clip", _mean_of_patches, "image"),
    "last position for the end-of-text token": Fault("open_clip", _last_position, "text"),
    "first token for the mean of all": Fault("roberta", _first_token, "text"),
    "last maximum for the first": Fault("clip", _wrapped_in(LastMaximum), "text"),
    "mean of red and blue swapped": Fault("clip", _red_and_blue_of("mean"), "image"),
    "standard deviation of red and blue swapped": Fault("clip", _red_and_blue_of("std"), "image"),
    "BGR": Fault("clip", _wrapped_in(BlueFirst), "image"),
    "missing projection": Fault("clip", _no_projection, "image"),
    "transposed projection": Fault("clip", _transposed_projection, "text"),
    "crop rounds where it floors": Fault("clip", _image(crop="round"), None),
    "crop floors where it rounds": Fault("open_clip", _image(crop="floor"), None),
    "bilinear for bicubic": Fault("clip", _image(interpolation="bilinear"), None),
    "squashed for cropped": Fault("clip", _image(resize_mode="squash"), None),
    "padding is attended to": Fault("roberta", _padding_seen, "text"),
    "texts not filled up": Fault("siglip", _not_filled_up, None),
}
