"""Settle which licence the weights have, where both a checkpoint and a person say one; reads no files."""

from pathlib import Path

from diptych_training.errors import ImportFailed

UNKNOWN = "unknown"
CARD_FILE = "README.md"  # of a checkpoint, with its front matter


def agreed_licence(stated: str | None, said: str | None, where: str) -> str:
    """What `where` states, else what --licence says, else `unknown`.

    Raises ImportFailed if they contradict each other.
    """
    known = stated if stated != UNKNOWN else None
    if known and said and known.casefold() != said.casefold():
        raise ImportFailed(f"--licence {said} contradicts {where}, which says {known}: leave --licence out")
    return known or said or UNKNOWN


def licence_of(folder: Path, said: str | None) -> str:
    """`license` in the front matter of README.md, else what a person says, else `unknown`.

    Raises ImportFailed if both say one, and not the same.
    """
    return agreed_licence(_stated(folder / CARD_FILE), said, f"{folder.name}/{CARD_FILE}")


def _stated(card: Path) -> str | None:
    # Loaded here: models of our own need the rule above, and huggingface_hub is part of an extra.
    from huggingface_hub import metadata_load  # noqa: PLC0415

    if not card.is_file():
        return None
    try:
        facts = metadata_load(card) or {}
    except Exception:  # a card is prose: one that is no proper YAML states nothing
        return None
    licence = facts.get("license")
    name = facts.get("license_name")
    if licence == "other" and isinstance(name, str):
        return name
    return licence if isinstance(licence, str) else None
