"""Wrap the library's modules in CLIP's two methods, for any batch size and text length."""

from typing import Any, Literal

import torch
from open_clip.hf_model import ClsLastHiddenStatePooler, ClsPooler, HFTextEncoder, MeanPooler
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from diptych_training.errors import ImportFailed
from diptych_training.importing.open_clip.bpe import TextProcessing

POOLERS = (MeanPooler, ClsPooler, ClsLastHiddenStatePooler)


PadTo = Literal["longest", "context_length"]


class DualEncoder(nn.Module):
    """The exported model: (B, 3, S, S) normalised -> (B, D) features, (B, L) int64 -> (B, D) features."""

    def __init__(self, visual: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.text = text

    def encode_image(self, pixels: Tensor) -> Tensor:
        """The library's image tower; the token features that CoCa also returns are dropped."""
        features: Tensor | tuple[Tensor, Tensor] = self.visual(pixels)
        return features[0] if isinstance(features, tuple) else features

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """The text tower."""
        features: Tensor = self.text(input_ids)
        return features


class TransformerText(nn.Module):
    """open_clip's text transformer at any length up to its context.

    Its own forward adds the whole positional embedding and causal mask, so it takes only texts of exactly the
    context length. Here both are cut to the length of the batch.
    """

    attn_mask: Tensor | None

    def __init__(self, owner: Any, pool_type: str, eos_id: int | None) -> None:
        super().__init__()
        self.token_embedding = owner.token_embedding
        self.positional_embedding = owner.positional_embedding  # (context_length, width)
        self.transformer = owner.transformer
        self.ln_final = owner.ln_final
        self.text_projection = owner.text_projection
        self.register_buffer("attn_mask", owner.attn_mask, persistent=False)
        self.pool_type, self.eos_id = pool_type, eos_id
        self.vocab_size = int(owner.token_embedding.num_embeddings)

    @property
    def is_causal(self) -> bool:
        """True if no token attends to later ones."""
        return self.attn_mask is not None

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, D)."""
        length = input_ids.shape[1]
        mask = None if self.attn_mask is None else self.attn_mask[:length, :length]
        x = self.token_embedding(input_ids) + self.positional_embedding[:length]  # (B, L, width)
        x = self.ln_final(self.transformer(x, attn_mask=mask))
        pooled: Tensor = text_global_pool(x, input_ids, self.pool_type, self.eos_id)  # (B, width)
        if self.text_projection is None:
            return pooled
        is_module = isinstance(self.text_projection, nn.Module)
        features: Tensor = self.text_projection(pooled) if is_module else pooled @ self.text_projection
        return features


class ClassTokenText(nn.Module):
    """CoCa's text transformer, whose class token follows the padding: it needs the full length."""

    def __init__(self, text: Any) -> None:
        super().__init__()
        self.text = text
        self.vocab_size = int(text.token_embedding.num_embeddings)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, context_length) int64 -> (B, D)."""
        features: Tensor | tuple[Tensor, Tensor] = self.text(input_ids)
        return features[0] if isinstance(features, tuple) else features


class HuggingFaceText(nn.Module):
    """A text tower of transformers with open_clip's pooler and projection.

    The library's own forward also selects the tokens that are not pooled, by an index that depends on data;
    they are not needed here, and the selection does not export.
    """

    def __init__(self, text: HFTextEncoder) -> None:
        super().__init__()
        if not isinstance(text.pooler, POOLERS):
            raise ImportFailed(
                f"text_cfg.hf_pooler_type: {type(text.pooler).__name__} is not supported, "
                f"only {', '.join(pooler.__name__ for pooler in POOLERS)}"
            )
        self.transformer, self.pooler, self.proj = text.transformer, text.pooler, text.proj
        self.pad_id = int(text.config.pad_token_id)
        self.vocab_size = int(text.vocab_size)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, L) int64 -> (B, D); padding is masked."""
        mask = (input_ids != self.pad_id).long()
        hidden = self.transformer(input_ids=input_ids, attention_mask=mask)
        features: Tensor = self.proj(self.pooler(hidden, mask))
        return features


class AppendedToken(nn.Module):
    """Appends one token after the padding of every text, as CLIPS models do with their class token."""

    def __init__(self, text: nn.Module, token_id: int) -> None:
        super().__init__()
        self.text, self.token_id = text, token_id

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, context_length - 1) int64 -> (B, D)."""
        last = torch.full_like(input_ids[:, :1], self.token_id)
        features: Tensor = self.text(torch.cat([input_ids, last], dim=1))
        return features


def text_tower(model: Any) -> TransformerText | ClassTokenText | HuggingFaceText:
    """The text tower of a model of open_clip. Raises ImportFailed if it has no single feature per text."""
    text = getattr(model, "text", None)
    if isinstance(text, HFTextEncoder):
        return HuggingFaceText(text)
    if text is None:
        tower = TransformerText(model, model.text_pool_type, model.text_eos_id)
    elif text.cls_emb is not None:
        return ClassTokenText(text)
    else:
        tower = TransformerText(text, text.pool_type, text.eos_id)
    if tower.pool_type == "none":
        raise ImportFailed(
            "text_cfg.pool_type is none: the tower gives a vector for each token, not for the text"
        )
    return tower


def pad_to(tower: nn.Module, text_processing: TextProcessing) -> PadTo:
    """`longest` only if the tower's structure shows that trailing padding changes nothing."""
    if text_processing.appended_id is not None:
        return "context_length"  # a token follows the padding
    if isinstance(tower, HuggingFaceText):
        return (
            "longest" if tower.pad_id == text_processing.pad_id else "context_length"
        )  # masked, or attended to
    if not isinstance(tower, TransformerText) or not tower.is_causal:
        return "context_length"  # every token attends to the padding
    return "longest" if _is_pooled_before_padding(tower, text_processing) else "context_length"


def _is_pooled_before_padding(tower: TransformerText, text_processing: TextProcessing) -> bool:
    placed = text_processing.tokenizer.encode("").ids  # tokens of every text
    if tower.pool_type == "argmax":  # position of the first highest id
        return bool(placed) and text_processing.pad_id <= max(placed)
    if tower.pool_type == "eos":  # position of the first end-of-text token, or 0 without one
        return tower.eos_id in placed or tower.eos_id != text_processing.pad_id
    return tower.pool_type == "first"
