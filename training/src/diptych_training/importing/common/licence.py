"""Licence of a checkpoint's weights: stated by its model card, or given by the user."""

from pathlib import Path

from diptych_training.errors import ImportFailed

UNKNOWN = "unknown"
CARD_FILE = "README.md"  # of a checkpoint, with its front matter


def agreed_licence(stated: str | None, given: str | None, where: str) -> str:
    """The licence stated in `where`, else the one given by --licence, else `unknown`.

    Raises ImportFailed if the two differ.
    """
    known = stated if stated != UNKNOWN else None
    if known and given and known.casefold() != given.casefold():
        raise ImportFailed(f"--licence {given} contradicts {where}, which says {known}: leave --licence out")
    return known or given or UNKNOWN


def licence_of(folder: Path, given: str | None) -> str:
    """`license` in the front matter of README.md, else the given one, else `unknown`.

    Raises ImportFailed if the two differ.
    """
    return agreed_licence(_licence_in_card(folder / CARD_FILE), given, f"{folder.name}/{CARD_FILE}")


def _licence_in_card(card: Path) -> str | None:
    # Imported here: huggingface_hub is part of an extra, which our own checkpoints do not need.
    from huggingface_hub import metadata_load  # noqa: PLC0415

    if not card.is_file():
        return None
    try:
        facts = metadata_load(card) or {}
    except Exception:  # invalid YAML states no licence
        return None
    licence = facts.get("license")
    name = facts.get("license_name")
    if licence == "other" and isinstance(name, str):
        return name
    return licence if isinstance(licence, str) else None
