"""What a tokenizer places around every text; knows nothing of the texts."""

from collections.abc import Sequence

from tokenizers import Tokenizer, processors

from diptych_training.errors import ImportFailed


def set_template(tokenizer: Tokenizer, before: Sequence[int], after: Sequence[int]) -> None:
    """Put these tokens around every text. Raises ImportFailed for an id without a token."""
    names = {id: tokenizer.id_to_token(id) for id in (*before, *after)}
    if None in names.values():
        raise ImportFailed(f"the tokenizer has no tokens for the ids {sorted(names)}, which open_clip places")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[*(names[id] for id in before), "$A", *(names[id] for id in after)],
        special_tokens=[(token, id) for id, token in names.items()],
    )


def replace_separator(tokenizer: Tokenizer, separator_id: int) -> None:
    """Write id 0 over every separator that the template places, as `strip_sep_token` asks."""
    mask = tokenizer.encode("a").special_tokens_mask  # 1 for what the template places
    placed = tokenizer.encode("").ids
    kept = [0 if id == separator_id else id for id in placed]
    n_before = mask.index(0)
    set_template(tokenizer, kept[:n_before], kept[n_before:])
